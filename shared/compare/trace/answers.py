"""Who makes this call now: for every call of a raw program, line by line, the line of Lightning
that makes the same call, and how one changes that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from shared.compare.source.concerns import concerns
from shared.compare.source.lines import LIGHTNING
from shared.compare.trace.bookkeeping import kept
from shared.compare.trace.events import OperationCall, Trace
from shared.compare.trace.operations import DATA, MODULE, OPERATIONS, Operation
from shared.compare.trace.timeline import SANITY, hooks_around, pairs, parts
from shared.compare.trace.tracing import Both
from shared.compare.trace.where import Line, functions, source, way

NAMED = {operation.name: operation for operation in OPERATIONS}
TRAINER, CALLBACK, YOURS = "trainer", "callback", "yours"


@dataclass(frozen=True)
class Answer:
    """Who makes a call of a line of a raw program.

    Attributes:
        key: what the page's address ends in.
        line: the line of the raw program that leads to the call.
        by_hand: the line that makes it, in a file that may be another.
        name: of the operation; of a line that makes no call, the line itself.
        kind: who has to write it now: the Trainer does it, a callback that one adds, or you. Empty
            for a line that makes no call.
        calls: by hand, and at the same place in Lightning; None where Lightning makes the call at
            another moment of the run, or was not traced.
        stack: the way to the line of Lightning, outermost first.
        hooks: the hooks around it, as they fire; `hook` is the one it is made in.
        override: what one overrides, or tells the Trainer, to change it.
        partner: the line of one's own code that has to do with it.
        only_with: the flag without which neither side makes it, or Lightning does not.
        variants: for each flag that moves the call, where it is made then, and how often.
    """

    key: str
    line: Line
    by_hand: Line
    name: str
    kind: str
    calls: tuple[int, int] | None
    stack: tuple[Line, ...]
    hooks: tuple[str, ...]
    hook: str
    override: str
    partner: Line
    only_with: str = ""
    variants: tuple[tuple[str, Line, int], ...] = ()

    @property
    def place(self) -> Line:
        """The line that makes the call with Lightning."""
        return self.stack[-1]


@dataclass(frozen=True)
class Found:
    """What is made of one call of a line in one pair of traces."""

    by_hand: Line
    count: int
    there: list[int]
    is_elsewhere: bool


def answers(traced: list[Both]) -> list[Answer]:
    """For every call of every line of the raw programs; and for the lines of the loop that make no
    call."""
    found: list[Answer] = []
    for program in dict.fromkeys(both.program for both in traced):
        found += _of_program([both for both in traced if both.program == program])
    return [*found, *_bookkeeping({answer.line for answer in found})]


def _of_program(runs: list[Both]) -> Iterable[Answer]:
    file = f"raw_pytorch/{runs[0].program}.py"
    ways = [_calls(both, file) for both in runs]
    keys = dict.fromkeys(key for found in ways for key in found)
    taken: dict[str, list[Answer]] = {}
    for line, name in keys:
        made = [(both, found[line, name]) for both, found in zip(runs, ways, strict=True)
                if (line, name) in found and found[line, name].there]  # fmt: skip
        if made:
            taken.setdefault(name, []).append(_answer(line, name, made))
    prefix = "" if runs[0].program == "train" else f"{runs[0].program}:"
    named: dict[tuple[Line, str], Answer] = {}
    for name, same in taken.items():
        # The address without a line is that of the line which makes the call itself most often.
        same.sort(key=lambda a: (a.by_hand != a.line, -(a.calls or (0,))[0], a.line.number))
        for i, answer in enumerate(same):
            key = prefix + name.replace(" ", "") + (f":{answer.line.number}" if i else "")
            named[answer.line, name] = replace(answer, key=key)
    # As the program makes them.
    return [named[key] for key in keys if key in named]


def _calls(both: Both, file: str) -> dict[tuple[Line, str], Found]:
    """For every line of a raw program and every operation it leads to, what became of them."""
    partners = pairs(both.raw.events, both.lightning.events)
    left = set(range(len(both.lightning.events))) - set(partners.values())
    at = {"raw": parts(both.raw.events), "lightning": parts(both.lightning.events)}
    calls: dict[tuple[Line, str], list[int]] = {}
    for i, event in enumerate(both.raw.events):
        assert isinstance(event, OperationCall)
        line = [x for x in way(event.frames) if x.file == file][-1]
        calls.setdefault((line, event.name), []).append(i)
    found = {}
    for (line, name), ours in calls.items():
        there = [partners[i] for i in ours if i in partners]
        if there:
            # What Lightning does more often in the same part belongs here, too, if no other line of
            # the program does it there.
            mine = {at["raw"][i] for i in ours}
            others = {at["raw"][i] for (x, n), calls_ in calls.items() if n == name and x != line
                      for i in calls_}  # fmt: skip
            there += [j for j in left if both.lightning.events[j].name == name
                      and at["lightning"][j] in mine - others]  # fmt: skip
        else_where = [] if there else _elsewhere(both.lightning, name, left)
        event = both.raw.events[ours[0]]
        assert isinstance(event, OperationCall)
        found[line, name] = Found(
            way(event.frames)[-1], len(ours), there or else_where, bool(else_where)
        )
    return found


def _elsewhere(lightning: Trace, name: str, left: set[int]) -> list[int]:
    """The calls of an operation that have no partner, or else all; the sanity check's come last."""
    at = parts(lightning.events)
    calls = [i for i, e in enumerate(lightning.events)
             if isinstance(e, OperationCall) and e.name == name]  # fmt: skip
    for kept_ in (lambda i: i in left and at[i] != SANITY, lambda i: i in left, lambda _: True):
        if some := [i for i in calls if kept_(i)]:
            return some
    return []


def _answer(line: Line, name: str, made: list[tuple[Both, Found]]) -> Answer:
    both, found = made[0]
    operation = NAMED[name]
    call, place = _usual(both, found)
    stack = way(call.frames)
    hooks, hook = hooks_around(both.lightning, place)
    variants = []
    for other, variant in made[1:]:
        there = _usual(other, variant)[0]
        where = way(there.frames)[-1]
        if where != stack[-1] or len(variant.there) != len(found.there):
            variants.append((other.flag, where, len(variant.there)))
    return Answer(
        key="",
        line=line,
        by_hand=found.by_hand,
        name=name,
        kind=_kind(operation, stack),
        calls=None if found.is_elsewhere else (found.count, len(found.there)),
        stack=stack,
        hooks=tuple(hooks),
        hook=hook,
        override=override(operation, call.hooks, stack[-1]),
        partner=_partner(operation, stack),
        only_with=both.flag,
        variants=tuple(variants),
    )


def _usual(both: Both, found: Found) -> tuple[OperationCall, int]:
    """The call that stands for all: one of the line that makes most of them."""
    events = {j: both.lightning.events[j] for j in found.there}
    lines = Counter(e.frames[0][:2] for e in events.values() if isinstance(e, OperationCall))
    (most,) = [line for line, _ in lines.most_common(1)]
    for j, event in events.items():
        if isinstance(event, OperationCall) and event.frames[0][:2] == most:
            return event, j
    raise AssertionError("there is at least one")


def is_yours(name: str) -> bool:
    """Whether what is called is a method of one's own module or data."""
    return any(target.startswith((MODULE, DATA)) for target in NAMED[name].targets)


def _kind(operation: Operation, stack: tuple[Line, ...]) -> str:
    """Who has to write it. A step that the Trainer calls is still yours: what it does."""
    files = [line.file for line in stack]
    if is_yours(operation.name) or stack[-1].is_own:
        return YOURS
    if any("pytorch_lightning/callbacks/" in file for file in files):
        return CALLBACK
    return TRAINER if "pytorch_lightning/trainer/trainer.py" in files else YOURS


def override(operation: Operation, hooks: list[str], place: Line) -> str:
    """What one overrides or tells the Trainer to change a call, given the hooks on the way to it;
    empty for a line of one's own that nothing of Lightning's has called."""
    if operation.hook in hooks:
        return operation.hook
    if place.is_own:
        return next(iter(hooks), "")
    return operation.change or next(iter(hooks), "")


def _partner(operation: Operation, stack: tuple[Line, ...]) -> Line:
    """The line of one's own Lightning code: what is called, or what leads to the call, or else what
    asks for it, under the same tag."""
    for target in operation.targets:
        if target.startswith((MODULE, DATA)):
            module, name = target.split(":")
            file = f"lightning/{module.rsplit('.', 1)[1]}.py"
            places = [node.lineno for text, node in functions(file) if text == name]
            if places:
                return Line(file, places[0])
    own = [line for line in stack if line.is_own]
    if own[-1].file != "lightning/train.py" or stack[-1].is_own:
        return own[-1]
    # The argument that asks the Trainer for it, or else what has the same tag.
    argument = re.match(r"Trainer\((\w+)=", operation.change)
    for file in ("lightning/train.py", "lightning/trainer.py"):
        for number, text in enumerate(source(file), 1):
            if argument and re.match(rf'\s*"?{argument[1]}("?:|=)', text):
                return Line(file, number)
    for file in ("train.py", "trainer.py"):
        for place in concerns(LIGHTNING).get(operation.tag, []):
            if place.file == file:
                return Line(f"lightning/{file}", min(place.lines))
    return own[-1]


def _bookkeeping(answered: set[Line]) -> Iterable[Answer]:
    """The lines of the loop that make no call that was traced."""
    fit = next(
        line.number for place in concerns(LIGHTNING)["train"] if place.file == "train.py"
        for line in [Line("lightning/train.py", min(place.lines))]
    )  # fmt: skip
    for entry in kept():
        for line in entry.raw:
            if line not in answered and entry.lightning is not None:
                yield Answer(
                    key=f"line-{line.number}", line=line, by_hand=line,
                    name=line.text.split("  #")[0],
                    kind="", calls=None, stack=(entry.lightning,), hooks=(), hook="",
                    override=entry.change, partner=Line("lightning/train.py", fit),
                )  # fmt: skip


@cache
def snippets() -> dict[str, str]:
    """For everything that an answer names to be overridden, or set: code that does so."""
    found: dict[str, str] = yaml.safe_load(Path(__file__).with_name("snippets.yaml").read_text())
    return found
