"""The first thing in which two recorded runs differ, in the order of causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..records import Run, Step
from . import batches, computing, evaluation, reported, saving, updates, weights
from .finding import EPSILON, Finding, where
from .matching import Matching
from .resuming import resumed

__all__ = ["Comparison", "Finding", "compare"]

# What each silent cause can be the cause of.
LEADS = {
    "generator": {"batch-shuffle", "batch-order", "batch-values", "forward-random",
                  "forward-input", "loss-random", "loss-input"},
    "setting": {"forward", "forward-random", "forward-argument", "loss", "loss-argument", "buffers",
                "gradients", "evaluation", "evaluation-argument", "evaluation-random"},
    "hook": {"forward", "forward-input", "gradients", "forward-more", "forward-call"},
    "frozen": {"gradients", "gradients-missing", "optimizer-missing", "optimizer-groups"},
}  # fmt: skip


@dataclass
class Comparison:
    """What came of it: the first real difference, those within rounding before it, and what is
    worth a word without being a difference."""

    finding: Finding | None = None
    rounding: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: int = 0


def compare(a: Run, b: Run) -> Comparison:
    result = Comparison(steps=min(a.trained, b.trained))
    match = Matching(a, b)
    silent: list[Finding] = []
    drifted = 0.0  # the largest difference so far
    for found in _differences(a, b, match, result.notes):
        if found.is_silent:
            silent.append(found)
            continue
        if found.is_rounding or _has_grown(found, drifted):
            drifted = max(drifted, found.size or 0.0)
            found.reason = found.reason or result.rounding[0].reason
            result.rounding.append(found)
            continue
        result.finding = _behind(found, silent)
        break
    if result.finding is None:
        _remark(a, b, match, silent, result.notes)
    return result


def _behind(found: Finding, silent: list[Finding]) -> Finding:
    for cause in silent:
        if found.cause in LEADS[cause.cause.split("-")[0]] and cause.step <= found.step:
            if cause.cause in ("hook", "frozen"):
                cause.where = found.where
            if cause.cause in ("setting", "hook", "frozen"):
                cause.step = found.step
            return cause
    return found


def _has_grown(found: Finding, drifted: float) -> bool:
    """Whether a difference is an earlier one within rounding, grown over the steps.

    It may grow a thousandfold from one event to the next, which is generous; a mistake is larger
    still, or it is in something that is not computed.
    """
    values = found.cause.split("-")[0] in ("forward", "loss", "gradients", "clipped", "stepped",
                                           "buffers", "evaluation", "touched")  # fmt: skip
    if found.cause in ("reported",) and drifted:
        return True
    if not values or found.size is None or not drifted or "alone" in found.text:
        return False
    if found.cause == "stepped" and "alone" not in found.text:
        # Adam makes whole steps of gradients that are nothing but rounding.
        return found.size < 0.1
    return found.size <= 1000 * max(drifted, EPSILON["float32"]) and found.size < 0.1


def _differences(a: Run, b: Run, match: Matching, notes: list[str]) -> Iterator[Finding]:
    if a.steps and b.steps:
        if again := resumed(a, b):
            yield again
            return
        yield from weights.settings(a, b)
        yield from weights.initial(a, b, match)
    elif a.evaluations and b.evaluations:
        # Neither trains, or only one does: what the one evaluates at its end is compared.
        yield from evaluation.evaluations(a, b, 0, notes)
        yield from reported.numbers(a, b, 0, notes)
        return
    orders = batches.Order(a), batches.Order(b)
    last = min(a.trained, b.trained)
    for number in range(1, min(len(a.steps), len(b.steps)) + 1):
        ours, theirs = a.steps[number - 1], b.steps[number - 1]
        yield from _backwards(a, b, ours, theirs, number, orders, match)
        if ours.taken is None or theirs.taken is None:
            break
        yield from updates.scaling(ours, theirs, number, match)
        yield from updates.optimizer(a, b, ours, theirs, number, match)
        yield from updates.stepped(a, b, ours, theirs, number, match)
        if number == last:
            yield from saving.endings(
                a, b
            )  # what comes after the last step is not the other's next
        following = [len(run.steps[number].backwards) for run in (a, b) if number < len(run.steps)]
        if len(set(following)) > 1:
            continue  # one of them leaves its window open here, which is said at the next step
        if len(following) == 2:
            yield from updates.between(a, b, number, match)
        yield from evaluation.evaluations(a, b, number, notes)
        yield from reported.numbers(a, b, number, notes)
        yield from saving.saves(a, b, number, notes)
    yield from reported.unreported(a, b, notes)


def _backwards(
    a: Run, b: Run, ours: Step, theirs: Step, number: int,
    orders: tuple[batches.Order, batches.Order], match: Matching,
) -> Iterator[Finding]:  # fmt: skip
    counts = len(ours.backwards), len(theirs.backwards)
    for x, y in zip(ours.backwards, theirs.backwards, strict=False):
        # First, since a batch may have been drawn from it; it is reported only if one was.
        yield from batches.generator(a, b, x, y, number)
        yield from batches.batch(a, b, x, y, number, orders)
        yield from batches.modes(x["forwards"], y["forwards"], number, "mode")
        if counts[0] != counts[1] and ours.taken and theirs.taken:
            text = f"A ran {counts[0]} backward passes for this step, B ran {counts[1]}."
            yield Finding("window", number, text, None, where(ours.taken, theirs.taken))
        yield from computing.computed(a, b, x, y, number, max(counts))
        yield from computing.gradients(a, b, x, y, number, match)


def _remark(a: Run, b: Run, match: Matching, silent: list[Finding], notes: list[str]) -> None:
    """What differs and changed nothing, and what was not reached."""
    for cause in silent:
        if cause.cause.startswith("generator"):
            text = f"The generator's state differs from step {cause.step} on"
            evaluation.note(notes, f"{text}: nothing was drawn from it. {cause.text}")
        else:
            evaluation.note(notes, f"{cause.text} It changed nothing that was recorded.")
    for prefix in sorted(match.prefixes):
        evaluation.note(notes, f"Names of one side begin with {prefix}, and are else the same.")
    for who, run in zip("AB", (a, b), strict=True):
        if run.end and run.end["how"] == "enough":
            looked = {"evaluation": run.evaluations, "checkpoint": run.saves, "number": run.numbers}
            missing = [what for what, there in looked.items() if not there]
            if missing:
                text = f"{who} was stopped after {run.trained} steps (--steps)"
                evaluation.note(notes, f"{text}: no {', no '.join(missing)} was reached.")
        if run.end and run.end["faults"]:
            text = f"Something of {who} could not be recorded"
            evaluation.note(notes, f"{text}: {run.end['faults'][0]}")
