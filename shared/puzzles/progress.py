"""What a learner has solved: runs/puzzles/progress.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shared.errors import RunError
from shared.files import write_atomically
from shared.puzzles.catalogue import COPIES, Puzzle

PATH = COPIES / "progress.json"


@dataclass
class Place:
    """How far a learner is with one puzzle."""

    solved: bool = False
    hints: int = 0
    shown: bool = False  # the solution


def read_progress() -> dict[int, Place]:
    """By number; a puzzle that was never opened is not there.

    Raises:
        RunError: the file is not what this program has written.
    """
    if not PATH.exists():
        return {}
    try:
        content = json.loads(PATH.read_text(encoding="utf-8"))
        return {int(number): Place(**place) for number, place in content.items()}
    except (ValueError, TypeError, AttributeError):
        raise RunError(f"{PATH}: cannot be read as progress; delete it to begin anew") from None


def write_progress(number: int, place: Place) -> None:
    """Write how far one puzzle is, and leave the others as another session has written them."""
    progress = {**read_progress(), number: place}
    PATH.parent.mkdir(parents=True, exist_ok=True)
    content = {str(key): asdict(progress[key]) for key in sorted(progress)}
    write_atomically(PATH, json.dumps(content, indent=1) + "\n")


def next_unsolved(puzzles: Sequence[Puzzle], after: int = 0) -> Puzzle | None:
    """The first puzzle after a number that is not solved, or else the first of all."""
    progress = read_progress()
    left = [p for p in puzzles if not progress.get(p.number, Place()).solved]
    return next((p for p in left if p.number > after), next(iter(left), None))
