"""A traced run in time: the parts it falls into, the same on both sides; the calls that belong to
each other because they are made at the same place; and the hooks of one batch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import groupby

from shared.compare.trace.events import Event, Frame, HookCall, OperationCall, Trace
from shared.compare.trace.where import Line, way

# A part of a run: before the first batch, a batch of an epoch, between two epochs, or an evaluation
# and what follows it.
Part = tuple[str, int, int]
SANITY: Part = ("sanity", 0, 0)
FIRST_BATCH: Part = ("batch", 0, 0)


def parts(events: list[Event]) -> list[Part]:
    """For each event, the part of the run. Parts begin at calls that both sides make."""
    found: list[Part] = []
    part: Part = ("before", 0, 0)
    epoch, batch, evaluations = -1, 0, 0
    evaluating = evaluated = in_sanity = False
    for event in events:
        if isinstance(event, HookCall):
            if event.name.startswith("on_sanity_check"):
                in_sanity = event.name.endswith("start")
        elif not event.sanity:
            in_sanity = False
            if event.name == "iter(loader)" and not evaluating:
                part = ("between", epoch, 0) if batch else part
                batch = 0
            elif event.name == "next(batches)" and not evaluating:
                epoch += batch == 0
                part, batch = ("batch", epoch, batch), batch + 1
            elif event.name in ("module.eval", "torch.no_grad"):
                # Either comes first; two of them in a row are two evaluations.
                if not evaluating or (evaluated and event.name == "module.eval"):
                    part, evaluated = ("evaluation", evaluations, 0), False
                    evaluations += 1
                evaluating = True
                evaluated |= event.name == "module.eval"
            elif event.name == "module.train":
                evaluating = False
        is_sanity = event.sanity if isinstance(event, OperationCall) else in_sanity
        found.append(SANITY if is_sanity else part)
    return found


def pairs(raw: list[Event], lightning: list[Event]) -> dict[int, int]:
    """For the calls of the raw side, by their place among the events, the same call on the other
    side: the n-th of its name in the same part of the run."""
    sides = []
    for events in (raw, lightning):
        places: dict[tuple[Part, str], list[int]] = defaultdict(list)
        for i, (event, part) in enumerate(zip(events, parts(events), strict=True)):
            if isinstance(event, OperationCall) and part != SANITY:
                places[part, event.name].append(i)
        sides.append(places)
    found: dict[int, int] = {}
    for key, ours in sides[0].items():
        theirs = sides[1].get(key, [])
        rows = _rows(raw, ours), _rows(lightning, theirs)
        if len(ours) == len(theirs) or len(rows[0]) != len(rows[1]):
            rows = [ours], [theirs]
        for row, other in zip(*rows, strict=True):
            # Where they are not as many, they are no partners one by one.
            found.update(zip(row, other, strict=False))
    return found


def _rows(events: list[Event], calls: list[int]) -> list[list[int]]:
    """Calls in their order, those together that one line makes in a row."""

    def line(i: int) -> Frame:
        event = events[i]
        assert isinstance(event, OperationCall)
        return event.frames[0]

    return [list(row) for _, row in groupby(calls, line)]


@dataclass
class Moment:
    """A hook, or an operation that runs in one.

    Attributes:
        depth: how many hooks it is nested in.
        name: of the hook, or of the operation.
        on: the class that declares the hook; empty for an operation.
        own, theirs: the classes of this repository and of Lightning whose methods work, in the
            order of their calls; both empty where nobody has anything to say.
        raw: the line of the raw program at that moment.
        times: how often in a row.
    """

    depth: int
    name: str
    on: str = ""
    own: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)
    raw: Line | None = None
    times: int = 1

    @property
    def style(self) -> str:
        if not self.on:
            return "operation"
        return "own" if self.own else "default" if self.theirs else "empty"


def moments(raw: Trace, lightning: Trace, program: str = "train.py") -> list[Moment]:
    """The first batch, as Lightning runs it."""
    partners = {j: i for i, j in pairs(raw.events, lightning.events).items()}
    at = parts(lightning.events)
    found: list[Moment] = []
    open_hooks: list[Moment] = []
    closed: Moment | None = None  # the hook that has just returned
    for i, event in enumerate(lightning.events):
        if at[i] != FIRST_BATCH:
            continue
        if isinstance(event, OperationCall):
            moment = Moment(len(open_hooks), event.name)
            if i in partners:
                call = raw.events[partners[i]]
                assert isinstance(call, OperationCall)
                moment.raw = [x for x in way(call.frames) if x.file.endswith(f"/{program}")][-1]
            if found and replace(found[-1], times=1) == moment:
                found[-1].times += 1
            else:
                found.append(moment)
            closed = None
        elif event.enter:
            # The Trainer asks one callback after the other; all of them are one moment.
            again = closed and closed.name == event.name and closed.on == event.on == "Callback"
            moment = closed if closed and again else Moment(len(open_hooks), event.name, event.on)
            if not again:
                found.append(moment)
            open_hooks.append(moment)
            names = {"own": moment.own, "lightning": moment.theirs}.get(event.does)
            if names is not None and event.by not in names:
                names.append(event.by)
        elif open_hooks:
            closed = open_hooks.pop()
    return [moment for i, moment in enumerate(found) if not _is_rest(moment, found[:i])]


def _is_rest(moment: Moment, before: list[Moment]) -> bool:
    """Whether nobody had anything to say to a hook that stands there already."""
    level = [m for m in before if m.depth <= moment.depth]
    return moment.style == "empty" and bool(level) and level[-1].name == moment.name


def hooks_around(lightning: Trace, place: int, many: int = 5) -> tuple[list[str], str]:
    """The names of the hooks around a call, in the order in which they fire, and that of the one
    it is made in, if it is made in one."""
    at = parts(lightning.events)
    before: list[str] = []
    after: list[str] = []
    open_hooks: list[str] = []
    inside = ""
    for i, event in enumerate(lightning.events):
        if i == place:
            inside = open_hooks[-1] if open_hooks else ""
        if not isinstance(event, HookCall):
            continue
        if event.enter:
            open_hooks.append(event.name)
            names = before if i < place else after
            if at[i] == at[place] and event.name not in (*before, *after):
                names.append(event.name)
        elif open_hooks:
            open_hooks.pop()
    return before[-many:] + after[: many - 1], inside
