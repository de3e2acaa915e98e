"""The hooks in time: every hook of one epoch in the order in which it fired, nested, beside the raw
line that runs at that moment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from shared.compare.source.align import common
from shared.compare.trace.events import Event, HookCall, OperationCall, Trace
from shared.compare.trace.where import Line, way

# Where a part of the epoch begins. Each batch begins with its own `next(batches)`.
BEGINS = {
    "on_sanity_check_start": "sanity",
    "on_train_start": "start",
    "on_validation_model_zero_grad": "validation",
    "on_train_epoch_end": "end",
}


@dataclass
class Moment:
    """A hook, or an operation that runs in one.

    Attributes:
        part: of the epoch: setup, sanity, start, batch 0, batch 1, validation or end.
        depth: how many hooks it is nested in.
        name: of the hook, or of the operation.
        on: the class that declares the hook; empty for an operation.
        by: the classes that fill it, in the order of their calls; empty where the Trainer called it
            and nobody had anything to say.
        raw: the way to the same operation on the raw side, outermost line first.
        times: how often in a row.
    """

    part: str
    depth: int
    name: str
    on: str = ""
    by: list[str] = field(default_factory=list)
    raw: tuple[Line, ...] = ()
    times: int = 1


def moments(raw: Trace, lightning: Trace) -> list[Moment]:
    """From before `trainer.fit` to its last hook, the sanity check included."""
    ways = _raw_ways(raw.events, lightning.events)
    found: list[Moment] = []
    open_hooks: list[Moment] = []
    closed: Moment | None = None  # the hook that has just returned
    part, batches = "setup", 0
    for i, event in enumerate(lightning.events):
        name = event.name
        if isinstance(event, HookCall) and not event.enter:
            closed = open_hooks.pop()
            if (closed.name, closed.on, part) == ("teardown", "LightningModule", "end"):
                break
            continue
        if name == "next(batches)" and part.startswith(("start", "batch")):
            part, batches = f"batch {batches}", batches + 1
        part = BEGINS.get(name, part)
        if isinstance(event, OperationCall):
            moment = Moment(part, len(open_hooks), name, raw=ways.get(i, ()))
            if found and replace(found[-1], times=1) == moment:
                found[-1].times += 1
            else:
                found.append(moment)
            closed = None
            continue
        # The Trainer asks one callback after the other; all of them are one moment.
        again = closed is not None and closed is found[-1] and closed.name == name
        if not (again and event.on == found[-1].on == "Callback"):
            found.append(Moment(part, len(open_hooks), name, event.on))
        open_hooks.append(found[-1])
        if event.overridden:
            found[-1].by.append(event.by)
    return [moment for i, moment in enumerate(found) if not _is_rest(moment, found[:i])]


def _is_rest(moment: Moment, before: list[Moment]) -> bool:
    """Whether these are the last callbacks that had nothing to say to a hook that others filled."""
    level = [m for m in before if m.depth <= moment.depth]
    return (
        moment.on == "Callback"
        and not moment.by
        and bool(level)
        and (level[-1].name, level[-1].on) == (moment.name, moment.on)
    )


def _raw_ways(raw: list[Event], lightning: list[Event]) -> dict[int, tuple[Line, ...]]:
    """For the operations of the Lightning side, by their place among the events, the way to the
    same one on the raw side.

    The n-th call is the n-th call where both sides make as many. Where they do not, calls belong
    together that stand between the same others.
    """
    calls = {i: event for i, event in enumerate(raw) if isinstance(event, OperationCall)}
    ours = [(i, call.name) for i, call in calls.items()]
    theirs = [
        (i, event.name)
        for i, event in enumerate(lightning)
        if isinstance(event, OperationCall) and not event.sanity
    ]
    places: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for i, name in ours:
        places[name][0].append(i)
    for i, name in theirs:
        places[name][1].append(i)
    equal = {n: dict(zip(b, a, strict=True)) for n, (a, b) in places.items() if len(a) == len(b)}
    pairs = common(theirs, ours)
    for i, name in theirs:
        if name in equal:
            pairs[i] = equal[name][i]
    return {i: way(calls[j].frames) for i, j in pairs.items()}
