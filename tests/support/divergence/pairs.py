"""Pairs of programs for the divergence tool: one program, and the same with one change.

python -m support.divergence.pairs        writes the table in shared/divergence/README.md anew
"""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.divergence.comparing.differences import Comparison, compare
from shared.divergence.comparing.growth import Nudge
from shared.divergence.records import Run
from shared.processes import ROOT
from support.divergence import watching
from support.divergence.change import Pair
from support.divergence.frozen import BY_FROZEN
from support.divergence.growing import GROWING
from support.divergence.one_program import DIFFERENT, EQUAL, WITNESSED
from support.divergence.rarer import RARER
from support.divergence.several import BY_SEVERAL
from support.divergence.styles import OTHERS
from support.divergence.tasks import BY_TASKS
from support.divergence.trainers import TRAINERS

README = ROOT / "shared" / "divergence" / "README.md"
PROGRAMS = ROOT / "tests" / "support" / "divergence" / "sources"
BEGIN, END = "<!-- kinds -->", "<!-- /kinds -->"
ALL = (
    *DIFFERENT, *WITNESSED, *EQUAL, *OTHERS, *TRAINERS, *BY_TASKS, *BY_FROZEN, *BY_SEVERAL,
    *GROWING, *RARER,
)  # fmt: skip


def program(name: str) -> str:
    (path,) = PROGRAMS.rglob(f"{name}.py")
    return path.read_text()


def source(pair: Pair) -> str:
    """
    Raises:
        ValueError: what is to be changed is not there.
    """
    text = program(pair.program)
    for before, after in ((pair.before, pair.after), pair.also):
        if before not in text:
            raise ValueError(f"{pair.kind}: {before!r} is not in {pair.program}.py")
        text = text.replace(before, after, 1) if before else text
    return text


def recorded(text: str, folder: Path, name: str, steps: int = 20, nudge: Any = None) -> Run:
    """What a program does, run in this process as its own file in `folder`."""
    path = folder / f"{name}.py"
    path.write_text(text)
    linecache.checkcache()
    with _in(folder):
        return watching.recorded(watching.script(path), folder / f"{name}.jsonl", steps, nudge)


class Unchanged:
    """The programs as they are, each recorded once, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = functools.cache(self._run)
        self.moved = functools.cache(self._moved)

    def folder_of(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _run(self, name: str) -> Run:
        return recorded(program(name), self.folder_of(name), "a")

    def _moved(self, name: str, nudge: Nudge) -> Run:
        moved = nudge.step, nudge.size
        return recorded(program(name), self.folder_of(name), "a", nudge.steps, moved)


def outcome(pair: Pair, unchanged: Unchanged) -> tuple[str, Comparison, Run]:
    """What the tool says of a pair: "right", "wrong" or "silent"."""
    against = pair.against or pair.program
    base = unchanged.run(against)
    run = recorded(source(pair), unchanged.folder_of(against), "b")
    result = compare(base, run)
    if result.nudge is not None:
        result = compare(base, run, unchanged.moved(against, result.nudge))
    found = result.finding
    if not pair.causes:
        is_right = found is None and result.is_told
        is_right = is_right and (pair.by_kernels or bool(result.blind) == pair.is_blind)
        return ("right" if is_right else "wrong"), result, run
    if found is None:
        return "silent" if not result.rounding else "wrong", result, run
    shown = [linecache.getline(file, number) for side in found.where for file, number, _ in side]
    is_shown = not pair.line or any(pair.line in text for text in shown)
    if found.cause in pair.causes and is_shown:
        return "right", result, run
    return "silent" if found.cause.endswith("-grown") else "wrong", result, run


Row = tuple[str, str, str, str]


def row(pair: Pair, verdict: str, result: Comparison) -> Row:
    """Program, kind, what was named, and whether that is right."""
    named = result.finding.cause if result.finding else "rounding" if result.rounding else "equal"
    if pair.by_kernels and verdict == "right":
        named = " or ".join(pair.causes) or "equal or rounding"
    elif result.blind and not result.finding:
        named = f"rounding before step {result.blind}"
    return pair.program, pair.kind, named, verdict


def table(unchanged: Unchanged, known: Mapping[Pair, Row]) -> list[Row]:
    """The rows of all pairs; those that are known already are not made again."""
    return [known.get(pair) or row(pair, *outcome(pair, unchanged)[:2]) for pair in ALL]


def written(rows: list[tuple[str, str, str, str]]) -> str:
    count = {
        verdict: sum(row[-1] == verdict for row in rows) for verdict in ("right", "wrong", "silent")
    }
    hidden = sum(row[-1] == "right" and row[2].endswith("-grown") for row in rows)
    lines = [
        f"Of {len(rows)}, {count['right']} are right, {count['wrong']} wrong, and of "
        f"{count['silent']} a cause that is on record is not found. {hidden} of those that are "
        "right are changes that nothing on record shows, beside a rounding: of these (`-grown`) "
        "the tool says that the difference is too large for it, and its cause not found.",
        "",
        "| program | one change | named | |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rows = table(Unchanged(Path(folder).resolve()), {})
    text = README.read_text()
    new = re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{written(rows)}\n{END}", text, flags=re.DOTALL)
    README.write_text(new)
    print(*[row for row in rows if row[-1] != "right"], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
