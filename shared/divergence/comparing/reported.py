"""Numbers that were logged or printed, and the kinds of average that they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ..records import Number, Run
from .calls import Drift
from .evaluation import note
from .finding import Finding, where

RATIOS = ("f1", "precision", "recall", "auc", "auroc", "jaccard", "iou")
TOLERANCE = 2e-5  # relative; averages are taken in other orders, and kept in float32


def plain_tag(tag: str) -> str:
    return re.sub(r"[^a-z0-9]", "", tag.lower())


def numbers(a: Run, b: Run, number: int, drift: Drift) -> Iterator[Finding]:
    mine, other = (by_tag(run.numbers.get(number, [])) for run in (a, b))
    found: list[Finding] = []
    # Where one run reports a quantity more often, there is no telling which belong together.
    for tag in [tag for tag in mine if len(mine[tag]) == len(other.get(tag, []))]:
        for p, q in zip(mine[tag], other[tag], strict=True):
            if not _apart(p, q):
                continue
            text = f"{p['tag'].strip()} is {p['value']:.7g} in A, {q['value']:.7g} in B."
            cause, who, more = explained(a, b, number, p, q)
            size = abs(p["value"] - q["value"]) / max(abs(q["value"]), 1e-12)
            if cause is None and drift.size:
                # What was evaluated is apart already, and no kind of average tells them apart.
                cause = "reported"
            elif cause is None:
                is_ratio = any(word in tag for word in RATIOS)
                cause = "reported-ratio" if is_ratio else "reported"
                if is_ratio:
                    more = " No recorded average explains either."
            found.append(Finding(cause, number, text + more, who, where(p, q), size))
    # A number whose error is understood says more than the others.
    yield from sorted(found, key=lambda f: f.cause == "reported")


def _apart(p: Number, q: Number) -> bool:
    if p["value"] == q["value"] or (math.isnan(p["value"]) and math.isnan(q["value"])):
        return False
    shown = [v["digits"] for v in (p, q) if v["digits"] is not None]
    size = abs(p["value"] - q["value"])
    if shown and size <= 0.51 * 10 ** -min(shown) * (1 + len(shown) % 2):
        return False
    return size > TOLERANCE * max(abs(q["value"]), 1e-12)


def by_tag(events: list[Number]) -> dict[str, list[Number]]:
    """By name; of one that is both logged and printed, only what is logged."""
    found: dict[str, list[Number]] = {}
    for event in events:
        found.setdefault(plain_tag(event["tag"]), []).append(event)
    for tag, group in found.items():
        for source in ("writer", "log"):
            some = [e for e in group if e["source"] == source]
            if some:
                found[tag] = some
                break
    return found


def averages(run: Run, number: int) -> dict[str, float]:
    """What a mean of this evaluation may be, by what it is."""
    found: dict[str, float] = {}
    here = run.eval_losses.get(number, [])
    values = [(e["value"], e["batch"]) for e in here if e["value"] is not None]
    if values and all(e["given"].get("reduction", "'mean'") == "'mean'" for e in here):
        every = [e for n, v in run.eval_losses.items() if 0 < n <= number for e in v]
        _kinds(found, "losses", [(v, n) for v, n in values], every and [
            (e["value"], e["batch"]) for e in every if e["value"] is not None
        ])  # fmt: skip
    right = [r for e in run.evaluations.get(number, []) for r in e["right"]]
    if right:
        each = [(k / n, n) for k, n in right if n]
        every_right = [
            r for n, v in run.evaluations.items() if 0 < n <= number for e in v for r in e["right"]
        ]
        _kinds(found, "accuracies", each, [(k / n, n) for k, n in every_right if n])
        trained = [
            r
            for s in run.steps[:number]
            for v in s.backwards
            for f in v["forwards"][:1]
            for r in f.get("right", [])
        ]
        if trained:
            found["over training and validation batches together"] = _mean(
                [(k / n, n) for k, n in (*trained, *every_right) if n]
            )
            found["over the training batches"] = _mean([(k / n, n) for k, n in trained if n])
    return found


def _kinds(found: dict[str, float], what: str, here: list, every: list) -> None:
    found[f"over all samples ({what})"] = _mean(here)
    found[f"the mean of the means of batches ({what})"] = sum(v for v, _ in here) / len(here)
    if len(every) > len(here):
        found[f"over all evaluations so far, never reset ({what})"] = _mean(every)


def _mean(values: list[tuple[float, int]]) -> float:
    return sum(v * n for v, n in values) / (sum(n for _, n in values) or 1)


def explained(
    a: Run, b: Run, number: int, p: Number, q: Number
) -> tuple[str | None, str | None, str]:
    """Which kind of average each of two reported numbers is, where the record tells."""
    kinds = []
    for run, event in ((a, p), (b, q)):
        allowed = (
            10 ** -event["digits"] if event["digits"] is not None else 1e-5 * abs(event["value"])
        )
        kinds.append(
            [k for k, v in averages(run, number).items() if abs(v - event["value"]) <= allowed]
        )
    text = "".join(f" {who}'s is {side[0]}." for who, side in zip("AB", kinds, strict=True) if side)
    right = [any(k.startswith("over all samples") for k in side) for side in kinds]
    if right[0] == right[1]:
        return None, None, text
    who, wrong = ("B", kinds[1]) if right[0] else ("A", kinds[0])
    for start, cause in (
        ("the mean of the means", "evaluation-mean"),
        ("over all evaluations", "evaluation-reset"),
        ("over training and", "evaluation-shared"),
        ("over the training", "evaluation-shared"),
    ):
        if any(k.startswith(start) for k in wrong):
            return cause, who, text
    return None, None, text


def unreported(a: Run, b: Run, notes: list[str]) -> Iterator[Finding]:
    """A quantity that only one run has reported, where both report others under the same names."""
    mine, other = (
        by_tag([e for v in run.numbers.values() for e in v if e["source"] != "print"])
        for run in (a, b)
    )
    if not mine.keys() & other.keys():
        return
    for who, ours, theirs in (("A", mine, other), ("B", other, mine)):
        for tag in [tag for tag in theirs if tag not in ours]:
            if any(word in tag for word in ("loss", "acc", "f1")):
                event = theirs[tag][0]
                text = f"The other run reports {event['tag']} {len(theirs[tag])} times; {who} never"
                lines = ([], event["where"]) if who == "A" else (event["where"], [])
                yield Finding("reported-missing", event["step"], f"{text} does.", who, lines)


def sources(a: Run, b: Run, notes: list[str]) -> None:
    for who, run in (("A", a), ("B", b)):
        if not run.numbers:
            note(notes, f"{who} reports no number: none was logged or printed.")
