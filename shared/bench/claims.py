"""The claims, measured: what Lightning's README promises, what was found here, and the verdict."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.bench import tables
from shared.bench.plan import IMAGES
from shared.compare.source.lines import LIGHTNING, RAW, concerns, files, total
from shared.reporting.words import LANGUAGES, words

PROMISED_MS = 300


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """What the texts of the claims name: from the source, the gallery and a bench."""
    from shared.compare.trace.operations import OPERATIONS
    from shared.mistakes.gallery import IMPOSSIBLE, MISTAKES, POSSIBLE, TRAP

    raw, lightning = concerns(RAW), concerns(LIGHTNING)

    def lines(*tags: str) -> tuple[int, int]:
        return tuple(total([p for t in tags for p in side.get(t, [])]) for side in (raw, lightning))

    found: dict[str, float] = {}
    for name, tags in (
        ("hardware", ("device", "precision", "ddp")),
        ("exact", ("seed", "resume")),
        ("log", ("log",)),
    ):
        found[f"{name}_raw"], found[f"{name}_lightning"] = lines(*tags)
    counts = {name: (ours, theirs or 0) for name, ours, theirs, _ in files()}
    found["minimal_raw"], found["minimal_lightning"] = counts.pop("minimal.py")
    found["lines_raw"] = sum(ours for ours, _ in counts.values())
    found["lines_lightning"] = sum(theirs for _, theirs in counts.values())
    names = {
        verdict: {m.name for m in MISTAKES if m.verdict == verdict}
        for verdict in (IMPOSSIBLE, POSSIBLE, TRAP)
    }
    for key, verdict in (("impossible", IMPOSSIBLE), ("possible", POSSIBLE), ("traps", TRAP)):
        found[key] = len(names[verdict])
    found["mistakes"] = sum(map(len, names.values()))
    found["operations"] = len(OPERATIONS)
    return {**found, **timed(result)}


def timed(result: dict[str, Any]) -> dict[str, float]:
    """The numbers that come from a bench."""
    per_epoch, per_step = tables.overhead_line(result)
    added = {name: spread.median for name, _, _, spread in tables.ladder(result) if spread}
    found = {
        "per_epoch_ms": per_epoch,
        "per_step_us": per_step,
        "steps_of_300": max(0.0, (PROMISED_MS - per_epoch) * 1000 / per_step),
        **{f"{name}_us": added[name] for name in ("manual", "tensorboard", "defaults", "tuned")},
    }
    for part in IMAGES:
        rows = tables.select(result, part, "", "lightning")
        if rows:
            found[f"{part}_ms"] = tables.epoch_overhead(result, part).median
            found[f"{part}_steps"] = rows[0]["steps_per_epoch"]
    return found


def verdict(claim: str, n: dict[str, float]) -> str:
    """Which of a claim's verdicts the numbers give: holds, partly or fails."""
    holds = {
        "hardware": lambda: n["hardware_lightning"] < n["hardware_raw"],
        "readable": lambda: n["minimal_lightning"] < n["minimal_raw"],
        "reproduce": lambda: n["exact_lightning"] == 0,
        "mistakes": lambda: n["impossible"] > n["mistakes"] / 2,
        "flexible": lambda: True,  # a test sees that each operation has its override
        "integrations": lambda: n["log_lightning"] < n["log_raw"],
        "overhead": lambda: max(n[f"{part}_ms"] for part in IMAGES) <= PROMISED_MS,
    }
    partly = {
        "readable": lambda: n["lines_lightning"] < n["lines_raw"],
        "reproduce": lambda: True,
        "mistakes": lambda: True,
        "overhead": lambda: n["digits_ms"] <= PROMISED_MS,
    }
    if holds[claim]():
        return "holds"
    return "partly" if claim in partly and partly[claim]() else "fails"


@cache
def texts() -> dict[str, dict[str, Any]]:
    """The content of claims.yaml."""
    return yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each claim: `promise`, `measured` and `verdict` by language, `command`, and `state`
    (holds, partly, fails). Empty where the bench has left out what the claims need."""
    parts = {row["part"] for row in result["runs"]}
    if not {"digits", "mnist", "steps", "ladder"} <= parts:
        return []
    found = numbers(result)
    shown = {name: f"{value:,.0f}" for name, value in found.items()}
    shown["per_epoch_ms"] = f"{found['per_epoch_ms']:.1f}"
    for name in ("manual_us", "defaults_us", "tuned_us"):
        shown[name] = f"{found[name]:+,.0f}"
    table = []
    for name, text in texts().items():
        state = verdict(name, found)
        measured = {code: text["measured"][code].format(**shown) for code in LANGUAGES}
        table.append(
            {
                "promise": text["promise"],
                "measured": measured,
                "command": text["command"],
                "verdict": text[state],
                "state": state,
            }
        )
    return table


def markdown(result: dict[str, Any], code: str = "en") -> str:
    """The block of the README, in a language."""
    head = [words()[key][code] for key in ("promise", "measured", "again", "says")]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for row in rows(result):
        cells = (row["promise"][code], row["measured"][code], row["command"], row["verdict"][code])
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)
