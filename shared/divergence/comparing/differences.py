"""The first thing in which two recorded runs differ, in the order of causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..records import Run, Step
from . import batches, computing, evaluation, reported, saving, updates, weights
from .calls import Drift
from .finding import Finding, lowest, where
from .growth import FACTOR, Growth, Nudge, is_computed, kind, least_of, may_have_grown, size_of
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


# What of a step is there before its first forward pass.
BEGINS = ("weights", "batch", "mode")


@dataclass
class Comparison:
    """What came of it: the first real difference, those within rounding before it, and what is
    worth a word without being a difference."""

    finding: Finding | None = None
    rounding: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: int = 0
    first: int = 1  # the first step that was compared, of the whole run where the other goes on
    nudge: Nudge | None = None  # the experiment that tells how large a rounding becomes
    growth: Growth | None = None  # what came of it
    fault: str = ""  # why nothing did
    is_set_alike: bool = True  # no setting of a layer differs, and no hook

    @property
    def is_told(self) -> bool:
        """Whether all that is called rounding here is known to be no more than that."""
        return self.nudge is None or self.growth is not None

    @property
    def blind(self) -> int:
        """The first step at which a rounding alone makes so large a difference that nothing can be
        told any more; 0 if there is none."""
        if self.growth is None or not self.growth.blind:
            return 0
        return self.growth.blind + self.growth.begun


def compare(a: Run, b: Run, nudged: Run | None = None) -> Comparison:
    """
    Args:
        nudged: A once more, with its weights moved as an earlier comparison's `nudge` says.
    """
    result = _compare_any(a, b, None)
    if nudged is None or result.nudge is None:
        return result
    if not nudged.nudged:
        result.fault = "no weight of A could be moved"
    elif result.nudge.step and nudged.trained < result.nudge.steps:
        result.fault = f"with its weights moved it ended after {nudged.trained} steps"
    return result if result.fault else _compare_any(a, b, nudged)


def _compare_any(a: Run, b: Run, nudged: Run | None) -> Comparison:
    if resume := resumed(a, b):
        return _compare_resumed(a, b, nudged, resume)
    return _compare(a, b, nudged)


def _compare_resumed(a: Run, b: Run, nudged: Run | None, resume: Resumed) -> Comparison:
    """The steps that both runs have, each at its place in the whole run."""
    number = resume.number
    whole, part = (b, a) if resume.who == "A" else (a, b)
    if found := not_restored(whole, part, resume):
        return Comparison(found, steps=1)
    if whole is a:
        moved = after(nudged, number) if nudged is not None else None
        result = _compare(after(a, number), b, moved, begun=number)
        if result.nudge is not None:
            step, size, steps = result.nudge
            result.nudge = Nudge(step + number, size, steps + number)
    else:
        result = _compare(a, after(b, number), nudged, begun=number)
    if result.finding is not None:
        result.finding = restored_in_part(result.finding, resume)
    result.first = number + 1
    result.notes.insert(0, f"{resume.text} from there, and was compared with the steps after it.")
    return result


def _compare(a: Run, b: Run, nudged: Run | None, begun: int = 0) -> Comparison:
    """
    Args:
        begun: steps of the whole run before the first of these. If there are any, what training
            begins with is known to be equal.
    """
    result = Comparison(steps=min(a.trained, b.trained))
    match = Matching(a, b)
    silent: list[Finding] = []
    drift = Drift()
    growth: Growth | None = None
    is_beyond = False
    for found in _differences(a, b, match, result.notes, drift, begun > 0):
        if found.is_silent:
            silent.append(found)
            continue
        behind = _behind(found, silent)
        if growth is not None and growth.blind and found.step >= growth.blind:
            is_rounding = is_computed(found)
        elif growth is not None:
            is_rounding = growth.allows(found)
        else:
            is_rounding = (found.is_rounding and behind is found) or (
                drift.size > 0 and may_have_grown(found, drift.size)
            )
        if is_rounding:
            if not drift.size:
                drift.reason, drift.step = found.reason, found.step + begun
                if nudged is not None:
                    growth, result.fault = grown(a, nudged, found.step, size_of(a, found), begun)
                    result.growth = growth
            found.reason = found.reason or drift.reason
            drift.size = max(drift.size, found.size or 0.0)
            result.rounding.append(found)
            continue
        is_beyond = drift.size > 0 and is_computed(found)
        result.finding = behind
        if is_beyond and behind is found:
            result.finding = _beyond(found, drift, growth)
        _of_processes(a, b, result.finding)
        break
    if result.finding is None:
        _remark(a, b, match, silent, result)
    if len(result.rounding) > 1 or (result.rounding and is_beyond):
        first = result.rounding[0]
        last = result.finding.step if result.finding and not is_beyond else result.steps
        result.nudge = Nudge(first.step, size_of(a, first), max(last, 1))
    for found in result.rounding:
        found.step += begun
    return result


def grown(a: Run, nudged: Run, step: int, size: float, begun: int = 0) -> tuple[Growth | None, str]:
    """How far A is from itself with its weights moved by `size` from `step` on, or why that is not
    known."""
    growth = Growth(step, size, least_of(a), begun)
    drift = Drift(size=size)  # so that calls are compared, and not led back to the weights
    for found in _differences(a, nudged, Matching(a, nudged), [], drift, goes_on=False):
        if found.is_silent:
            continue
        if found.step < step or (found.step == step and found.cause.startswith(BEGINS)):
            return None, f"run again it is another at step {found.step}, before they are moved"
        growth.add(found)
    return growth, ""


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
SHARED_OUT = ("forward-input", "loss-input", "gradients", "gradients-scaled", "clipped",
              "clipped-scaled", "buffers")  # fmt: skip


def _of_processes(a: Run, b: Run, found: Finding) -> None:
    is_sharded = found.cause == "weights-other" and "_flat_param" in found.text
    if a.world != b.world and (found.cause in SHARED_OUT or is_sharded):
        found.cause, found.who = "batch-world", None
        found.text += f" A runs in {a.world} process{'es' * (a.world > 1)}, B in {b.world}."


def _beyond(found: Finding, drift: Drift, growth: Growth | None) -> Finding:
    """A difference that is too large to have grown from rounding, and has no cause that is seen."""
    if found.cause.startswith("reported"):
        return found
    if growth is None:
        more = f" That is {found.size:.1e}, after {drift.size:.1e} at most before."
    else:
        shown = growth.shown(kind(found), found.step)
        if not shown:
            return found  # a batch that is not computed is another
        more = f" That is {found.size:.1e}. {growth.text} parts from A by at most {shown:.1e} up to"
        more += f" there; rounding may be {FACTOR} times as much."
    more += f" The runs differ by rounding since step {drift.step} ({drift.reason})."
    cause = f"{found.cause.split('-')[0]}-grown"
    return Finding(cause, found.step, found.text + more, None, found.where, found.size)


def _differences(
    a: Run, b: Run, match: Matching, notes: list[str], drift: Drift, goes_on: bool
) -> Iterator[Finding]:
    if a.steps and b.steps:
        yield from weights.settings(a, b, match)
        if not goes_on:
            yield from weights.initial(a, b, match)
            yield from evaluation.before_training(a, b)
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
        shared = _shared(a, b, ours, theirs)
        if shared:
            evaluation.note(notes, f"{shared}: what each computes of its share was not compared.")
            for x, y in zip(ours.backwards, theirs.backwards, strict=True):
                yield from batches.modes(x["forwards"], y["forwards"], number, "mode")
        else:
            yield from _backwards(a, b, ours, theirs, number, orders, match, drift)
        if ours.taken is None or theirs.taken is None:
            break
        yield from updates.scaling(ours, theirs, number, match, shared)
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


def _shared(a: Run, b: Run, ours: Step, theirs: Step) -> str:
    """Whether one program has shared out each batch of the other among its processes: gradients are
    then the same once they are averaged, and no sooner."""
    pairs = list(zip(ours.backwards, theirs.backwards, strict=False))
    who = {batches.share(a, b, x, y) for x, y in pairs}
    if len(ours.backwards) != len(theirs.backwards) or len(who) != 1 or not max(who):
        return ""
    name, run = ("A", a) if max(who) == "A" else ("B", b)
    return f"{name} shares each batch of the other out among {run.world} processes"


def _backwards(
    a: Run, b: Run, ours: Step, theirs: Step, number: int,
    orders: tuple[batches.Order, batches.Order], match: Matching, drift: Drift,
) -> Iterator[Finding]:  # fmt: skip
    counts = len(ours.backwards), len(theirs.backwards)
    is_window = not _has_closure(ours, theirs)
    if counts[0] != counts[1] and is_window and len({_forwards(s) for s in (ours, theirs)}) == 1:
        yield from _in_parts(a, b, ours, theirs, number, orders, match)
        return
    mine, other = updates.updated(a, number), updates.updated(b, number)
    # Where two optimizers have other parameters, that is told of the optimizers.
    both = mine & {match.of(name) for name in other} if mine and other else None
    for x, y in zip(ours.backwards, theirs.backwards, strict=False):
        # First, since a batch may have been drawn from it; it is reported only if one was.
        yield from batches.generator(a, b, x, y, number)
        yield from batches.batch(a, b, x, y, number, orders)
        yield from batches.modes(x["forwards"], y["forwards"], number, "mode")
        if not drift.size:
            yield from batches.frozen(x["forwards"], y["forwards"], number)
        yield from batches.targets(x, y, number, orders)
        if counts[0] != counts[1] and is_window and ours.taken and theirs.taken:
            text = f"A ran {counts[0]} backward passes for this step, B ran {counts[1]}."
            yield Finding("window", number, text, None, where(ours.taken, theirs.taken))
        yield from computing.computed(a, b, x, y, number, max(counts), drift)
        if x["scale"] == y["scale"]:
            yield from computing.gradients(a, b, x, y, number, match, both or None)
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
    yield from batches.targets(x, y, number, orders)
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
                result.is_set_alike = False
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
