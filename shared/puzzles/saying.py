"""What the learner reads, line by line."""

from __future__ import annotations

import dataclasses
import difflib
import linecache
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared.compare.trace.operations import package_folder
from shared.divergence.causes import kind_of
from shared.puzzles.catalogue import FIND, PORT, READ, TRACKS, Puzzle
from shared.puzzles.progress import Place
from shared.puzzles.reading import Truth, clues
from shared.puzzles.screen import WIDTH, padded, sparkline, wrapped
from shared.puzzles.trying import Try
from shared.reporting.words import Text, read_words

if TYPE_CHECKING:
    from shared.divergence.comparing.finding import Finding
    from shared.puzzles.judging import Verdict

WORDS = read_words(Path(__file__).with_name("words.yaml"))
INDENT = "  "


class Speaker:
    """Says things in one language, "en" or "zh"."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.space = " " if language == "en" else ""  # between sentences

    def text(self, words: Text) -> str:
        return words[self.language].strip()

    def say(self, key: str, /, **values: object) -> list[str]:
        """The words of a key, with what is put in, as lines."""
        return wrapped(self.text(WORDS[key]).format(**values))

    def the_list(self, puzzles: Sequence[Puzzle], progress: Mapping[int, Place]) -> list[str]:
        """All puzzles, and how far one is."""
        solved = [p for p in puzzles if progress.get(p.number, Place()).solved]
        lines = self.say("head", solved=len(solved), all=len(puzzles))
        for track in TRACKS:
            of_track = [puzzle for puzzle in puzzles if puzzle.track == track]
            lines += ["", *self.say(f"track {track}")] if of_track else []
            for puzzle in of_track:
                place = progress.get(puzzle.number, Place())
                mark = "✓" if place.solved else "·"
                title = padded(f"{INDENT}{mark} {puzzle.number:2}  {self.text(puzzle.title)}", 52)
                aside = [self.say("hints used", hints=place.hints)[0]] if place.hints else []
                aside += self.say("solution seen") if place.shown else []
                comma = self.text(WORDS["comma"]) + self.space
                lines.append((title + comma.join(aside)).rstrip())
        left = next((p for p in puzzles if p not in solved), None)
        last = self.say("how to open", number=left.number) if left else self.say("all solved")
        return [*lines, "", *last]

    def opening(self, puzzle: Puzzle, count: int) -> list[str]:
        """The task, in a few lines."""
        title = self.text(puzzle.title)
        lines = self.say("title", number=puzzle.number, all=count, title=title)
        lines += [INDENT + line for line in self.text(puzzle.task).splitlines()]
        if puzzle.track == PORT:
            lines += [*self.say("loop"), INDENT + os.path.relpath(puzzle.loop)]
        if puzzle.track == READ:
            folder = os.path.relpath(package_folder("pytorch_lightning").parent)
            return [*lines, *self.say("answer"), INDENT + folder]
        return [*lines, *self.say("mend" if puzzle.track == FIND else "port"), f"  {puzzle.copy}"]

    def verdict(self, puzzle: Puzzle, verdict: Verdict, before: Verdict | None) -> list[str]:
        """What came of a try.

        Args:
            before: the verdict on the try before this one.
        """
        mine = verdict.mine
        is_run = mine.how == "finished" and mine.run.trained and not mine.copied
        shown = self.curves(mine) if is_run else []
        key = verdict.kind
        if puzzle.track == PORT and verdict.finding is not None:
            shown += [*first_difference(verdict.finding, (mine.file, puzzle.loop)), ""]
            key = "differs at"
        values: dict[str, object] = {
            "steps": mine.run.trained, "error": _ended(mine.error), "what": verdict.what,
            "seconds": f"{mine.seconds:.0f}", **self.places(mine.line),
            "copied": os.path.relpath(mine.copied) if mine.copied else "",
            **self.where(verdict.finding),
        }  # fmt: skip
        shown += self.say(key, **values)
        if before is not None and verdict.kind == before.kind == "differs":
            steps = verdict.equal_steps - before.equal_steps
            shown += self.say("warmer" if steps > 0 else "colder") if steps else []
        return shown

    def places(self, line: int) -> dict[str, str]:
        """A line of the file, as a sentence begins with it and as one ends with it."""
        if not line:
            return {"place": "", "at": ""}
        place, at = (self.say(key, line=line)[0] for key in ("line", "at line"))
        return {"place": place + self.space, "at": self.space + at}

    def where(self, finding: Finding | None) -> dict[str, object]:
        """The step of a difference, and what differs."""
        if finding is None:
            return {}
        kind = self.text(WORDS[f"in {kind_of(finding.cause)}"])
        return {"step": finding.step, "kind": kind}

    def curves(self, mine: Try) -> list[str]:
        """The training loss step by step, and the accuracies that were logged."""
        losses = [
            loss["values"][0]
            for step in mine.run.steps
            if step.backwards and (loss := step.backwards[-1]["loss"])
        ]
        accuracies = [v for (tag, _), v in mine.points.items() if tag.endswith("accuracy")]
        names = [self.text(WORDS[key]) for key in ("curve", "accuracy")]
        lines = []
        if losses:
            curve = f"{_short(losses[0])} {sparkline(losses)} {_short(losses[-1])}"
            lines.append(f"{INDENT}{padded(names[0], 14)} {curve}")
        if accuracies:
            each = "  ".join(f"{value:.1%}" for value in accuracies[:6])
            aside = f"  {self.say('per epoch')[0]}" if len(accuracies) > 1 else ""
            lines.append(f"{INDENT}{padded(names[1], 14)} {each}{aside}")
        return [*lines, ""] if lines else []

    def solved(self, puzzle: Puzzle, following: Puzzle | None) -> list[str]:
        """What is worth a word once a puzzle is solved."""
        lines = []
        if puzzle.mistake is not None:
            verdict = self.text(WORDS[puzzle.mistake.verdict])
            text = self.text(puzzle.mistake.lightning)
            lines += self.say("with lightning", verdict=verdict, text=text)
        if following is None:
            return [*lines, *self.say("all solved")]
        return [*lines, *self.say("go on", number=following.number)]

    def hint(self, puzzle: Puzzle, number: int, verdict: Verdict | None, source: str) -> list[str]:
        """One of three hints.

        Args:
            number: 1, 2 or 3.
            verdict: on the last try.
            source: the learner's file as it is.
        """
        if puzzle.mistake is None:
            text = self.text(puzzle.hints[number - 1])
            return self.say("hint text", number=number, all=len(puzzle.hints), text=text)
        if number == 1:
            if verdict is None or verdict.mine.how != "finished":
                return self.say("no step")
            if verdict.finding is None:
                return self.say("no difference")
            return self.say("hint step", **self.where(verdict.finding))
        if number == 2:
            return self.say("hint kind", kind=self.text(puzzle.mistake.shown))
        line = puzzle.line(source)
        if not line:
            return self.say("changed too much")
        return [*self.say("hint line", line=line), INDENT + source.splitlines()[line - 1].strip()]

    def clue(self, number: int, right: Truth) -> list[str]:
        """One of three hints to a question."""
        of = clues(right)
        key, values = of[number - 1]
        text = self.text(WORDS[key]).format(**values)
        return self.say("hint text", number=number, all=len(of), text=text)

    def truth(self, right: Truth) -> list[str]:
        """The answer to a question, with the lines around it."""
        if right.line is None:
            return self.say("the answer", answer=right.name)
        lines = []
        for number, text in right.line.excerpt():
            mark = ">" if number == right.line.number else " "
            line = f"{INDENT}{mark} {number or '':5} {text}" if number else f"{INDENT}    ..."
            lines.append(line[:WIDTH].rstrip())
        return [*self.say("the answer", answer=right.line.place), *lines]

    def solution(self, puzzle: Puzzle) -> list[str]:
        """What the kept solution changes of the puzzle."""
        before, after = puzzle.kept.read_text(encoding="utf-8"), puzzle.solution()
        changes = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
        lines = [line for line in changes if not line.startswith(("---", "+++"))]
        return [*self.say("solution"), *(INDENT + line for line in lines)]


def first_difference(finding: Finding, files: tuple[Path, Path]) -> list[str]:
    """A difference in the words of the divergence tool, with lines of these two files alone."""
    from shared.divergence.report import finding_lines  # with torch, which the list need not

    linecache.checkcache()  # the learner has changed the file since lines of it were shown
    names = [str(file.resolve()) for file in files]
    places = [
        [place for place in where if place[0] == name]
        for where, name in zip(finding.where, names, strict=True)
    ]
    return finding_lines(dataclasses.replace(finding, where=(places[0], places[1])))


def _short(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) and abs(value) < 1000 else f"{value:.1e}"


def _ended(text: str) -> str:
    """With a full stop, as a sentence."""
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
