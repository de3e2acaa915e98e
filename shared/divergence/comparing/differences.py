"""The first thing in which two recorded runs differ, in the order of causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..records import Run, Step
from . import batches, computing, evaluation, reported, saving, updates, weights
from .calls import Drift
from .finding import EPSILON, Finding, lowest, where
from .matching import Matching
from .resuming import Resumed, after, not_restored, restored_in_part, resumed

__all__ = ["Comparison", "Finding", "compare"]

# What each silent cause can be the cause of.
LEADS = {
    "generator": {"batch-shuffle", "batch-order", "batch-values", "forward-random",
                  "forward-input", "loss-random", "loss-input"},
    "setting": {"forward", "forward-random", "forward-argument", "loss", "loss-argument", "buffers",
                "gradients", "evaluation", "evaluation-argument", "evaluation-random"},
    "hook": {"forward", "forward-input", "gradients", "forward-more", "forward-call"},
    "scaler": {"clipped", "clipped-scaled", "clip-limit", "steps"},
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
    first: int = 1  # the first step that was compared, of the whole run where the other goes on


def compare(a: Run, b: Run) -> Comparison:
    if resume := resumed(a, b):
        return _compare_resumed(a, b, resume)
    return _compare(a, b, goes_on=False)


def _compare_resumed(a: Run, b: Run, resume: Resumed) -> Comparison:
    """The steps that both runs have, each at its place in the whole run."""
    whole, part = (b, a) if resume.who == "A" else (a, b)
    if found := not_restored(whole, part, resume):
        return Comparison(found, steps=1)
    rest = after(whole, resume.number)
    result = _compare(rest, b, True) if whole is a else _compare(a, rest, True)
    if result.finding is not None:
        result.finding = restored_in_part(result.finding, resume)
    result.first = resume.number + 1
    result.notes.insert(0, f"{resume.text} from there, and was compared with the steps after it.")
    return result


def _compare(a: Run, b: Run, goes_on: bool) -> Comparison:
    """
    Args:
        goes_on: what training begins with is known to be equal.
    """
    result = Comparison(steps=min(a.trained, b.trained))
    match = Matching(a, b)
    silent: list[Finding] = []
    drift = Drift()
    for found in _differences(a, b, match, result.notes, drift, goes_on):
        if found.is_silent:
            silent.append(found)
            continue
        behind = _behind(found, silent)
        if (found.is_rounding and behind is found) or (
            drift.size and _has_grown(found, drift.size)
        ):
            if not drift.size:
                drift.reason, drift.step = found.reason, found.step
            found.reason = found.reason or drift.reason
            drift.size = max(drift.size, found.size or 0.0)
            result.rounding.append(found)
            continue
        result.finding = _beyond(found, drift) if behind is found and drift.size else behind
        _of_processes(a, b, result.finding)
        break
    if result.finding is None:
        _remark(a, b, match, silent, result)
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


# What may come of parameters and gradients that are shared out among processes, which are not seen.
SHARED_OUT = ("forward-input", "loss-input", "gradients", "gradients-scaled")


def _of_processes(a: Run, b: Run, found: Finding) -> None:
    is_sharded = found.cause == "weights-other" and "_flat_param" in found.text
    if a.world != b.world and (found.cause in SHARED_OUT or is_sharded):
        found.cause, found.who = "batch-world", None
        found.text += f" A runs in {a.world} process{'es' * (a.world > 1)}, B in {b.world}."


# What is computed, and so is apart where what went before is.
GROWING = ("batch-values", "forward", "loss", "gradients", "clipped", "stepped", "stepped-hand",
           "buffers", "evaluation", "reported")  # fmt: skip


def _has_grown(found: Finding, drifted: float) -> bool:
    """Whether a difference may be an earlier one within rounding, grown over the steps: it is in
    something that is computed, and nothing is seen that would explain it.

    How fast one grows nobody knows beforehand. A thousandfold from one event to the next, and up to
    a tenth, is taken for growth; Adam makes whole steps of gradients that are nothing but rounding.
    """
    if found.size is not None and found.cause in ("gradients-scaled", "clipped-scaled"):
        return found.size <= 10 * drifted  # what has grown is no multiple, or hardly one
    if found.cause not in GROWING or found.size is None:
        return False
    most = 1.0 if found.cause.startswith("stepped") else 1000 * max(drifted, EPSILON["float32"])
    return found.size <= min(most, 0.1)


def _beyond(found: Finding, drift: Drift) -> Finding:
    """A difference that is too large to have grown from rounding, and has no cause that is seen."""
    if found.cause not in GROWING or found.size is None or found.cause.startswith("reported"):
        return found
    text = f"{found.text} That is {found.size:.1e}, after {drift.size:.1e} at most before. The runs"
    text += f" differ by rounding since step {drift.step} ({drift.reason})."
    cause = f"{found.cause.split('-')[0]}-grown"
    return Finding(cause, found.step, text, None, found.where, found.size)


def _differences(
    a: Run, b: Run, match: Matching, notes: list[str], drift: Drift, goes_on: bool
) -> Iterator[Finding]:
    if a.steps and b.steps:
        yield from weights.settings(a, b)
        if not goes_on:
            yield from weights.initial(a, b, match)
    elif a.evaluations and b.evaluations:
        # Neither trains, or only one does: what the one evaluates at its end is compared.
        yield from evaluation.evaluations(a, b, 0, notes, drift)
        yield from reported.numbers(a, b, 0, drift)
        return
    orders = batches.Order(a), batches.Order(b)
    last = min(a.trained, b.trained)
    for number in range(1, min(len(a.steps), len(b.steps)) + 1):
        ours, theirs = a.steps[number - 1], b.steps[number - 1]
        if ours.taken and theirs.taken and _has_closure(ours, theirs):
            # Its settings decide on what the closure computes when it is called again.
            yield from updates.optimizer(a, b, ours, theirs, number, match)
        yield from _backwards(a, b, ours, theirs, number, orders, match, drift)
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
        yield from evaluation.evaluations(a, b, number, notes, drift)
        yield from reported.numbers(a, b, number, drift)
        yield from saving.saves(a, b, number, notes)
    yield from reported.unreported(a, b, notes)


def _backwards(
    a: Run, b: Run, ours: Step, theirs: Step, number: int,
    orders: tuple[batches.Order, batches.Order], match: Matching, drift: Drift,
) -> Iterator[Finding]:  # fmt: skip
    counts = len(ours.backwards), len(theirs.backwards)
    is_window = not _has_closure(ours, theirs)
    if counts[0] != counts[1] and is_window and len({_forwards(s) for s in (ours, theirs)}) == 1:
        yield from _in_parts(a, b, ours, theirs, number, orders, match)
        return
    for x, y in zip(ours.backwards, theirs.backwards, strict=False):
        # First, since a batch may have been drawn from it; it is reported only if one was.
        yield from batches.generator(a, b, x, y, number)
        yield from batches.batch(a, b, x, y, number, orders)
        yield from batches.modes(x["forwards"], y["forwards"], number, "mode")
        if counts[0] != counts[1] and is_window and ours.taken and theirs.taken:
            text = f"A ran {counts[0]} backward passes for this step, B ran {counts[1]}."
            yield Finding("window", number, text, None, where(ours.taken, theirs.taken))
        yield from computing.computed(a, b, x, y, number, max(counts), drift)
        if x["scale"] == y["scale"]:
            yield from computing.gradients(a, b, x, y, number, match)
        else:  # they are compared at the step, when the scale is taken back
            text = f"The loss is scaled by {x['scale']:g} in A, by {y['scale']:g} in B."
            yield Finding("scaler", number, text, None, where(x, y), is_silent=True)


def _has_closure(ours: Step, theirs: Step) -> bool:
    """Whether an optimizer called its closure several times, as LBFGS does. Lightning gives every
    optimizer a closure, to be called once."""
    return any(sum(v["inside"] for v in s.backwards) > 1 for s in (ours, theirs))


def _forwards(step: Step) -> int:
    """How many forward passes led to the backward passes of a step."""
    return len({f["order"] for v in step.backwards for f in v["forwards"]})


def _in_parts(
    a: Run, b: Run, ours: Step, theirs: Step, number: int,
    orders: tuple[batches.Order, batches.Order], match: Matching,
) -> Iterator[Finding]:  # fmt: skip
    """One program calls backward() for each term of a loss, the other for their sum: what can be
    compared is what all of them gave together."""
    x, y = ours.backwards[0], theirs.backwards[0]
    yield from batches.generator(a, b, x, y, number)
    yield from batches.batch(a, b, x, y, number, orders)
    yield from batches.modes(x["forwards"], y["forwards"], number, "mode")
    last = ours.backwards[-1], theirs.backwards[-1]
    counts = len(ours.backwards), len(theirs.backwards)
    text = f"A calls backward() {counts[0]} times for one forward pass, B {counts[1]} times"
    found = computing.tensors(
        last[0]["gradients"], match.renamed(last[1]["gradients"]), number, "gradients",
        where(*last), text, lowest(x["operations"]),
    )  # fmt: skip
    if found is not None:
        found.text += f" {text}."
        yield found


def _remark(a: Run, b: Run, match: Matching, silent: list[Finding], result: Comparison) -> None:
    """What differs and changed nothing, and what was not reached."""
    notes = result.notes
    for cause in silent:
        if cause.cause.startswith("generator"):
            text = f"The generator's state differs from step {cause.step} on"
            evaluation.note(notes, f"{text}: nothing was drawn from it. {cause.text}")
        else:
            what = "It changed nothing that was recorded."
            if result.rounding:
                what = "Whether it adds to the difference is not known."
            evaluation.note(notes, f"{cause.text} {what}")
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
