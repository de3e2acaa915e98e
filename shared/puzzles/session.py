"""One learner at one terminal: opens puzzles, runs a file whenever it is saved, and hears words."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.compare.trace.events import Trace
from shared.errors import RunError
from shared.files import write_atomically
from shared.forks.client import Forks
from shared.puzzles.catalogue import COPIES, PORT, READ, Puzzle
from shared.puzzles.judging import Verdict, judge
from shared.puzzles.progress import Place, next_unsolved, read_progress, write_progress
from shared.puzzles.reading import Truth, check, fresh_trace, truth
from shared.puzzles.saying import Speaker
from shared.puzzles.trying import Try, run_file

# Seconds: between two looks at the file, and for a try, at least and as a multiple of the right
# run's, since a machine may be slow.
LOOK, LEAST, TIMES = 0.2, 10.0, 10.0
# Seconds of a try after which the learner is told that it is still running.
PATIENCE = 5.0
# What one may type, by its first letter too.
WORDS = ("hint", "solution", "reset", "list", "next", "quit")


class Keyboard:
    """Lines from a file descriptor, without waiting for one."""

    def __init__(self, file: int) -> None:
        self.file, self.typed = file, b""

    def line(self, seconds: float | None) -> str | None:
        """The next line, stripped; None if none came within these seconds.

        Raises:
            EOFError: no more will come.
        """
        while b"\n" not in self.typed:
            if not select.select([self.file], [], [], seconds)[0]:
                return None
            more = os.read(self.file, 1 << 12)
            if not more:
                raise EOFError
            self.typed += more
        line, _, self.typed = self.typed.partition(b"\n")
        return line.decode(errors="replace").strip()


class Session:
    """The puzzles at one terminal.

    Args:
        forks: the warm Python that runs the files.
        show: prints one line.
        prompt: printed when a word may be typed.
    """

    def __init__(
        self,
        puzzles: Sequence[Puzzle],
        forks: Forks,
        speaker: Speaker,
        keyboard: Keyboard,
        show: Callable[[str], None],
    ) -> None:
        self.puzzles, self.forks, self.speaker = puzzles, forks, speaker
        self.keyboard, self.show = keyboard, show
        self.verdict: Verdict | None = None
        self.is_solved = False
        self.trace: Trace | None = None
        self.is_loaded = False

    def run(self, puzzle: Puzzle) -> int:
        """Open puzzles one after the other until the learner leaves.

        Returns:
            0, or 1 where stdin has ended and the puzzle is not solved.
        """
        following: Puzzle | None = puzzle
        while following is not None:
            puzzle = following
            self.verdict, self.is_solved = None, False
            try:
                following = self.work_at(puzzle)
            except EOFError:
                return 0 if self.is_solved else 1
        return 0

    def work_at(self, puzzle: Puzzle) -> Puzzle | None:
        """One puzzle, until another is wanted. Returns that one; None to leave.

        Raises:
            EOFError: stdin has ended.
        """
        self.say(["", *self.speaker.opening(puzzle, len(self.puzzles))])
        if puzzle.track == READ:
            return self.answer(puzzle)
        COPIES.mkdir(parents=True, exist_ok=True)
        if not puzzle.copy.exists():
            write_atomically(puzzle.copy, puzzle.kept.read_bytes())
        loading = self.loading()
        self.say(["", *loading, ""] if loading else [""])
        right = self.right_run(puzzle)
        limit = max(LEAST, TIMES * right.seconds)
        seen = None
        while True:
            if (stamp := stamp_of(puzzle.copy)) != seen:
                seen = stamp
                self.check(puzzle, right, limit)
            word = self.keyboard.line(LOOK)
            if word is None:
                continue
            following = self.obey(puzzle, word)
            if following is not puzzle:
                return following

    def answer(self, puzzle: Puzzle) -> Puzzle | None:
        """One question, until another puzzle is wanted. Returns that one; None to leave."""
        assert puzzle.question is not None
        if self.trace is None:
            self.say(["", *self.loading(), *self.speaker.say("tracing")])
            self.trace = fresh_trace(self.forks)
        right = truth(puzzle.question, self.trace)
        self.say(["", *self.speaker.say("words and answers"), ""])
        while True:
            answer = self.keyboard.line(None) or ""
            if len(answer) < 2 or answer.lower() in WORDS or answer.isdecimal():
                following = self.obey(puzzle, answer, right)
                if following is not puzzle:
                    return following
                continue
            reply = check(answer, right)
            self.say(self.speaker.say(reply))
            if reply == "right":
                self.say(self.speaker.truth(right))
                self.solve(puzzle)
            self.say([""])

    def loading(self) -> list[str]:
        """What to say before libraries are loaded, which happens once."""
        is_first, self.is_loaded = not self.is_loaded, True
        return self.speaker.say("loading") if is_first else []

    def right_run(self, puzzle: Puzzle) -> Try:
        """The run that the learner's has to equal, made anew: its last bits are this machine's."""
        if puzzle.track == PORT:
            return run_file(self.forks, puzzle.loop, 600)
        path = COPIES / f".right-{os.getpid()}-{puzzle.name}"
        try:
            write_atomically(path, puzzle.solution())
            return run_file(self.forks, path, 600)
        finally:
            path.unlink(missing_ok=True)

    def check(self, puzzle: Puzzle, right: Try, limit: float) -> None:
        """Run the learner's file, and say what came of it."""
        late = self.speaker.say("still running", seconds=f"{limit:.0f}")
        timer = threading.Timer(PATIENCE, self.say, [late])
        timer.start()
        try:
            mine = run_file(self.forks, puzzle.copy, limit)
        except ChildProcessError as error:  # the warm Python has ended
            raise RunError(str(error)) from None
        except FileNotFoundError:
            return self.say(self.speaker.say("missing", file=puzzle.copy))
        except OSError as error:
            told = error.strerror or str(error)
            return self.say(self.speaker.say("unreadable", file=puzzle.copy, error=told))
        finally:
            timer.cancel()
        before, self.verdict = self.verdict, judge(puzzle, mine, right)
        self.is_solved = False
        self.say(self.speaker.verdict(puzzle, self.verdict, before))
        if self.verdict.kind == "solved":
            self.solve(puzzle)
        self.say(["", *self.speaker.say("words"), ""])

    def solve(self, puzzle: Puzzle) -> None:
        self.is_solved = True
        self.note(puzzle, solved=True)
        following = next_unsolved(self.puzzles, puzzle.number)
        self.say(self.speaker.solved(puzzle, following))

    def obey(self, puzzle: Puzzle, word: str, right: Truth | None = None) -> Puzzle | None:
        """Do what was typed.

        Args:
            right: what is right, where the puzzle is a question.

        Returns:
            The puzzle to go on with; None to leave.
        """
        number = word if word.isdecimal() else ""
        word = next((w for w in WORDS if word.lower() in (w, w[0])), "")
        if number and 1 <= int(number) <= len(self.puzzles):
            return self.puzzles[int(number) - 1]
        if word == "quit":
            return None
        if word == "next":
            return self.next_after(puzzle)
        if word == "hint":
            self.hint(puzzle, right)
        elif word == "solution":
            self.note(puzzle, shown=True)
            self.say(self.speaker.truth(right) if right else self.speaker.solution(puzzle))
        elif word == "reset" and right is None:
            self.reset(puzzle)
        elif word == "list":
            self.say(self.speaker.the_list(self.puzzles, read_progress()))
        else:
            self.say(self.speaker.say("words and answers" if right else "words"))
        self.say([""])
        return puzzle

    def next_after(self, puzzle: Puzzle) -> Puzzle:
        """The next puzzle that is not solved; where all are, the next one."""
        following = next_unsolved(self.puzzles, puzzle.number)
        return following or self.puzzles[puzzle.number % len(self.puzzles)]

    def hint(self, puzzle: Puzzle, right: Truth | None) -> None:
        if self.is_solved:
            return self.say(self.speaker.say("all right"))
        number = self.place_of(puzzle).hints + 1
        if number > 3:
            for again in (1, 2, 3):
                self.say(self.hinted(puzzle, again, right))
            return self.say(self.speaker.say("no more hints"))
        self.note(puzzle, hints=number)
        self.say(self.hinted(puzzle, number, right))

    def hinted(self, puzzle: Puzzle, number: int, right: Truth | None) -> list[str]:
        if right is not None:
            return self.speaker.clue(number, right)
        with contextlib.suppress(OSError):
            source = puzzle.copy.read_text(encoding="utf-8", errors="replace")
            return self.speaker.hint(puzzle, number, self.verdict, source)
        return self.speaker.say("missing", file=puzzle.copy)

    def reset(self, puzzle: Puzzle) -> None:
        self.say(self.speaker.say("ask reset", file=puzzle.copy))
        if (self.keyboard.line(None) or "").lower() not in ("yes", "y"):
            return self.say(self.speaker.say("not reset"))
        write_atomically(puzzle.copy, puzzle.kept.read_bytes())
        self.say(self.speaker.say("is reset"))

    def note(self, puzzle: Puzzle, **changes: Any) -> None:
        """Remember that a hint or the solution was seen, or that the puzzle is solved."""
        write_progress(puzzle.number, replace(self.place_of(puzzle), **changes))

    def place_of(self, puzzle: Puzzle) -> Place:
        return read_progress().get(puzzle.number, Place())

    def say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.show(line)


def stamp_of(path: Path) -> tuple[int, int] | None:
    """When a file was written and how large it is, once an editor has let it be; None if it is not
    there."""
    before = None
    while True:
        try:
            status = path.stat()
        except OSError:
            return None
        stamp = status.st_mtime_ns, status.st_size
        if stamp == before or time.time() - status.st_mtime > 1:
            return stamp
        before = stamp
        time.sleep(LOOK / 4)
