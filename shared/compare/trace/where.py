"""Where did the line go: for every operation, the raw line that calls it by hand, and the line of
the installed packages that calls it in Lightning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from shared.compare.trace.events import Frame, Trace
from shared.compare.trace.operations import OPERATIONS, PACKAGES, Operation, package_folder
from shared.processes import ROOT

AROUND = 3  # lines of source shown before and after the one that calls


@dataclass(frozen=True)
class Line:
    """A line of source: `file` as `package/path.py`."""

    file: str
    number: int
    function: str

    @property
    def text(self) -> str:
        return source(self.file)[self.number - 1].strip()

    def excerpt(self) -> list[tuple[int, str]]:
        """The lines around it with their numbers, without the indentation they share."""
        lines = source(self.file)
        first = max(0, self.number - 1 - AROUND)
        around = lines[first : self.number + AROUND]
        indent = min((len(s) - len(s.lstrip()) for s in around if s.strip()), default=0)
        return [(first + 1 + i, text[indent:]) for i, text in enumerate(around)]


@dataclass(frozen=True)
class Site:
    """A place that calls an operation.

    Attributes:
        lines: the way to it, outermost first; those of one file and line once.
        count: how often it called, `sanity` of them in the Trainer's sanity check.
        hooks: the methods to override on the way, innermost first.
    """

    lines: tuple[Line, ...]
    count: int
    sanity: int
    hooks: tuple[str, ...]

    @property
    def line(self) -> Line:
        return self.lines[-1]

    @property
    def is_own(self) -> bool:
        """Whether the call stands in this repository, and not in a package."""
        return self.line.file.split("/")[0] not in PACKAGES

    @property
    def caller(self) -> Line | None:
        """The innermost line of a package on the way: who calls what is one's own."""
        return next((x for x in reversed(self.lines) if x.file.split("/")[0] in PACKAGES), None)


@dataclass(frozen=True)
class Row:
    operation: Operation
    raw: tuple[Site, ...]
    lightning: tuple[Site, ...]

    @property
    def raw_count(self) -> int:
        return sum(site.count for site in self.raw)

    @property
    def lightning_count(self) -> int:
        return sum(site.count for site in self.lightning)

    @property
    def sanity(self) -> int:
        return sum(site.sanity for site in self.lightning)

    @property
    def differs(self) -> bool:
        """Whether the counts differ by more than the sanity check."""
        return self.raw_count != self.lightning_count - self.sanity

    @property
    def override(self) -> str:
        """What one overrides or tells the Trainer to change it."""
        on_the_way = [hook for site in self.lightning for hook in site.hooks]
        if self.operation.hook in on_the_way:
            return self.operation.hook
        return self.operation.change or next(iter(on_the_way), "")


def trace_rows(raw: Trace, lightning: Trace) -> list[Row]:
    """One row for each operation, in the order of the table of operations."""
    return [
        Row(op, tuple(_sites(raw, op.name, whole=True)), tuple(_sites(lightning, op.name)))
        for op in OPERATIONS
    ]


def _sites(trace: Trace, name: str, whole: bool = False) -> Iterable[Site]:
    """The places that call an operation: told apart by the whole way to them, or by the innermost
    line alone, as in Lightning, where one line serves training, validation and testing."""
    ways: dict[Any, tuple[Line, ...]] = {}
    hooks: dict[Any, tuple[str, ...]] = {}
    counts: Counter[Any] = Counter()
    sanity: Counter[Any] = Counter()
    for call in trace.calls:
        if call.name == name:
            lines = way(call.frames)
            key = lines if whole else (lines[-1].file, lines[-1].number)
            # The way that is not the sanity check's is the one to show.
            if key not in ways or sanity[key] == counts[key]:
                ways[key], hooks[key] = lines, tuple(call.hooks)
            counts[key] += 1
            sanity[key] += call.sanity
    for key, lines in ways.items():
        yield Site(lines, counts[key], sanity[key], hooks[key])


def way(frames: list[Frame]) -> tuple[Line, ...]:
    """Frames, innermost first, as lines, outermost first, each line once."""
    lines = {(file, number): Line(file, number, function) for file, number, function in frames}
    return tuple(reversed(lines.values()))


def lines_of(rows: Iterable[Row]) -> dict[tuple[str, int], list[Row]]:
    """For every raw line that some operation passes through, those operations."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        for key in dict.fromkeys((x.file, x.number) for site in row.raw for x in site.lines):
            found.setdefault(key, []).append(row)
    return found


@cache
def source(file: str) -> list[str]:
    """The lines of a file given as `package/path.py`: of this repository, or an installed one."""
    package, path = file.split("/", 1)
    folder = package_folder(package) if package in PACKAGES else ROOT / package
    return (folder / path).read_text().splitlines()
