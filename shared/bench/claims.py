"""The claims: what Lightning's README promises, what was measured here, and the verdict where the
numbers decide it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.bench.plan import IMAGES
from shared.bench.results import BenchResult
from shared.bench.spreads import epoch_overhead, overhead_line, rung_times, select
from shared.bench.words import say
from shared.compare.source.concerns import concerns, total
from shared.compare.source.lines import LIGHTNING, RAW, file_totals, files
from shared.compare.trace.operations import OPERATIONS
from shared.mistakes.catalogue import IMPOSSIBLE, POSSIBLE, TRAP, mistakes
from shared.reporting.markdown import table
from shared.reporting.words import LANGUAGES, Text

Numbers = dict[str, float]
PROMISED_MS = 300


def numbers(result: BenchResult) -> Numbers:
    """What the texts of the claims name: from the source, the gallery and a bench."""
    raw, lightning = concerns(RAW), concerns(LIGHTNING)
    found: Numbers = {}
    for name, tags in (
        ("hardware", ("device", "precision", "ddp")),
        ("exact", ("seed", "resume")),
        ("log", ("log",)),
    ):
        for key, side in (("raw", raw), ("lightning", lightning)):
            found[f"{name}_{key}"] = total([place for t in tags for place in side.get(t, [])])
    minimal = next(file for file in files() if file.name == "minimal.py")
    found["minimal_raw"] = minimal.raw or 0
    found["minimal_lightning"] = minimal.lightning or 0
    found["lines_raw"], found["lines_lightning"] = file_totals()
    for key, verdict in (("impossible", IMPOSSIBLE), ("possible", POSSIBLE), ("traps", TRAP)):
        found[key] = sum(mistake.verdict == verdict for mistake in mistakes())
    found["mistakes"] = len(mistakes())
    found["operations"] = len(OPERATIONS)
    return {**found, **timed(result)}


def timed(result: BenchResult) -> Numbers:
    """The numbers that come from a bench."""
    per_epoch, per_step = overhead_line(result)
    found = {
        "per_epoch_ms": per_epoch,
        "per_step_us": per_step,
        "steps_of_300": max(0.0, (PROMISED_MS - per_epoch) * 1000 / per_step),
    }
    for part in IMAGES:
        runs = select(result, part, "", "lightning")
        if runs:
            found[f"{part}_ms"] = epoch_overhead(result, part).median
            found[f"{part}_steps"] = runs[0]["steps_per_epoch"]
    return found


def _by_length_of_code(n: Numbers) -> str:
    if n["minimal_lightning"] < n["minimal_raw"]:
        return "holds"
    return "partly" if n["lines_lightning"] < n["lines_raw"] else "fails"


def _by_own_lines(n: Numbers) -> str:
    return "holds" if n["exact_lightning"] == 0 else "partly"


def _by_mistakes(n: Numbers) -> str:
    if n["impossible"] == 0:
        return "fails"
    return "holds" if n["impossible"] > n["mistakes"] / 2 else "partly"


def _by_time(n: Numbers) -> str:
    if max(n[f"{part}_ms"] for part in IMAGES) <= PROMISED_MS:
        return "holds"
    return "partly" if n["digits_ms"] <= PROMISED_MS else "fails"


# The claims that numbers decide, and how.
RULES: dict[str, Callable[[Numbers], str]] = {
    "readable": _by_length_of_code,
    "reproduce": _by_own_lines,
    "mistakes": _by_mistakes,
    "overhead": _by_time,
}


@cache
def texts() -> dict[str, dict[str, Any]]:
    """The content of claims.yaml."""
    return yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Claim:
    """A row of the table, by language where it is text.

    Attributes:
        command: what measures it again.
        state: holds, partly or fails, as the numbers decide; or judgement, where they do not.
    """

    promise: Text
    measured: Text
    command: str
    verdict: Text
    state: str


def claim_rows(result: BenchResult) -> list[Claim]:
    """A row for each claim. Empty where the bench has left out what the claims need."""
    parts = {row["part"] for row in result["runs"]}
    if not {"digits", "mnist", "steps", "ladder"} <= parts:
        return []
    found = numbers(result)
    shown = {name: f"{value:,.0f}" for name, value in found.items()}
    shown["per_epoch_ms"] = f"{found['per_epoch_ms']:.1f}"
    # With their ranges: most of them hold zero.
    rungs = {rung.name: rung for rung in rung_times(result)}
    shown |= {f"{name}_us": rung.added.text("+,.0f") for name, rung in rungs.items() if rung.added}
    for name in ("written", "tuned"):
        shown[f"all_{name}_us"] = rungs[name].over_loop.text("+,.0f")
    claims = []
    for name, text in texts().items():
        state = RULES[name](found) if name in RULES else "judgement"
        verdict = text[state]
        if state == "judgement":
            verdict = {code: say("judged", code, said=verdict[code]) for code in LANGUAGES}
        measured = {code: text["measured"][code].format(**shown) for code in LANGUAGES}
        claims.append(Claim(text["promise"], measured, text["command"], verdict, state))
    return claims


def claims_block(result: BenchResult, code: str = "en") -> str:
    """The block of the README, in a language; empty without rows."""
    head = [say(key, code) for key in ("promise", "measured", "again", "says")]
    cells = [
        (claim.promise[code], claim.measured[code], claim.command, claim.verdict[code])
        for claim in claim_rows(result)
    ]
    return table(head, cells, "llll") if cells else ""
