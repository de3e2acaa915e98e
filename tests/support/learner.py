"""What a learner has: the puzzles, and a Python that tries their files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.compare.trace.events import Trace
from shared.compare.trace.tracing import Both
from shared.forks.client import Forks
from shared.puzzles.catalogue import PORT, READ, Puzzle, puzzles
from shared.puzzles.saying import Speaker
from shared.puzzles.trying import Try, run_file

ALL = puzzles()
FIRST = ALL[0]
ENGLISH, CHINESE = Speaker("en"), Speaker("zh")
SPEAKERS = (ENGLISH, CHINESE)
QUESTIONS = [puzzle for puzzle in ALL if puzzle.track == READ]


def tried(forks: Forks, source: str, limit: float = 120) -> Try:
    Path("mine.py").write_text(source)
    return run_file(forks, Path("mine.py"), limit)


@pytest.fixture(scope="module")
def right_run(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Puzzle], Try]:
    """`right_run(puzzle)` is the run that a learner's has to equal, made once."""
    folder = tmp_path_factory.mktemp("right")

    @functools.cache
    def made(number: int) -> Try:
        puzzle = ALL[number - 1]
        if puzzle.track == PORT:
            return run_file(forks, puzzle.loop, 120)
        (folder / puzzle.name).write_text(puzzle.solution())
        return run_file(forks, folder / puzzle.name, 120)

    return lambda puzzle: made(puzzle.number)


@pytest.fixture(scope="module")
def right(right_run: Callable[[Puzzle], Try]) -> Try:
    """The right run of the first puzzle."""
    return right_run(FIRST)


@pytest.fixture(scope="session")
def trace(traced: list[Both]) -> Trace:
    """Lightning's side of the run with clipped gradients, as a puzzle traces it anew."""
    return next(both.lightning for both in traced if both.flag.startswith("--gradient_clip_val"))
