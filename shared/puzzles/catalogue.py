"""The puzzles: what the YAML files beside this one say of them, and where their files lie."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.files import RUNS
from shared.mistakes.catalogue import Mistake, mistakes
from shared.mistakes.edits import Edit, apply
from shared.reporting.words import Text

HERE = Path(__file__).resolve().parent
# The learner's copies.
COPIES = RUNS / "puzzles"
FIND, PORT, READ = TRACKS = "find", "port", "read"


# What a trace may be asked for; reads.yaml says what each means.
KINDS = ("line", "after", "before", "around")


@dataclass(frozen=True)
class Question:
    """What a trace is asked for: one of `KINDS`, of an operation or a hook."""

    kind: str
    of: str


@dataclass(frozen=True)
class Puzzle:
    """One puzzle.

    Attributes:
        number: from 1, over all tracks.
        track: one of `TRACKS`.
        title, task: in both languages.
        mistake: that is to be found; None in the other tracks.
        step: at which the divergence tool names it.
        mend: the changes that make it right.
        hints: of a port.
        question: of the last track, whose puzzles have no files.
    """

    number: int
    track: str
    title: Text
    task: Text
    mistake: Mistake | None = None
    step: int = 0
    mend: tuple[Edit, ...] = ()
    hints: tuple[Text, ...] = ()
    question: Question | None = None

    @property
    def name(self) -> str:
        return f"puzzle_{self.number:02}.py"

    @property
    def kept(self) -> Path:
        """What the learner begins with."""
        return HERE / {FIND: "finds", PORT: "ports"}[self.track] / self.name

    @property
    def loop(self) -> Path:
        """The loop by hand that a port has to equal."""
        return HERE / "loops" / self.name

    @property
    def copy(self) -> Path:
        """The learner's own."""
        return COPIES / self.name

    def solution(self) -> str:
        """The source of the kept solution."""
        if self.track == PORT:
            return (HERE / "solutions" / self.name).read_text(encoding="utf-8")
        return apply(self.kept.read_text(encoding="utf-8"), self.mend)

    def line(self, source: str) -> int:
        """The line of a learner's file in which the mistake is: the first that the mending changes,
        or before which it puts another. 0 where the mending does not fit the file any more."""
        try:
            mended = apply(source, self.mend)
        except ValueError:
            return 0
        return first_change(source, mended)


def first_change(before: str, after: str) -> int:
    """The number of the first line that changes, or before which another is put; 0 if there is
    none."""
    lines = before.splitlines(), after.splitlines()
    for kind, start, _, _, _ in difflib.SequenceMatcher(None, *lines, False).get_opcodes():
        if kind != "equal":
            return min(start + 1, len(lines[0]))
    return 0


@cache
def puzzles() -> tuple[Puzzle, ...]:
    """All of them, in their order."""
    named = {mistake.name: mistake for mistake in mistakes()}
    found: list[Puzzle] = []
    for entry in _read("finds.yaml"):
        entry["mistake"] = named[entry["mistake"]]
        entry["mend"] = tuple(Edit("", **edit) for edit in entry["mend"])
        found.append(Puzzle(number=len(found) + 1, track=FIND, **entry))
    for entry in _read("ports.yaml"):
        entry["hints"] = tuple(entry["hints"])
        found.append(Puzzle(number=len(found) + 1, track=PORT, **entry))
    for entry in _read("reads.yaml"):
        (kind,) = entry.keys() & set(KINDS)
        question = Question(kind, entry.pop(kind))
        found.append(Puzzle(number=len(found) + 1, track=READ, question=question, **entry))
    return tuple(found)


def _read(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return entries
