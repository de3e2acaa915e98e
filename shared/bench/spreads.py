"""What the runs of a bench say together, as numbers.

Several repetitions give their median, their least and their most. Where two programs are compared,
each repetition is compared with its own neighbour in time, and the median is that of the
comparisons.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

from shared.bench.plan import SHARED
from shared.bench.results import BenchResult, BenchRun
from shared.bench.timed.ladder import RUNGS
from shared.files import SIDES


class Spread(NamedTuple):
    """Median, least and most of several repetitions."""

    median: float
    least: float
    most: float

    def text(self, form: str = ",.0f") -> str:
        median, least, most = (format(value, form) for value in self)
        return f"{median} ({least}–{most})"


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def select(result: BenchResult, part: str, point: str, who: str) -> list[BenchRun]:
    """The repetitions of one kind of run, in order."""
    part, point = SHARED.get((part, point), (part, point))
    runs = [r for r in result["runs"] if (r["part"], r["point"], r["who"]) == (part, point, who)]
    return sorted(runs, key=lambda run: run["repeat"])


def points(result: BenchResult, part: str) -> list[str]:
    """Where runs of a part stand on its axis, in order."""
    own = {run["point"] for run in result["runs"] if run["part"] == part}
    return sorted(own | {p for other, p in SHARED if other == part and own}, key=int)


def paired(
    ours: list[BenchRun], theirs: list[BenchRun], combine: Callable[[BenchRun, BenchRun], float]
) -> Spread:
    """What `combine` makes of the runs of the same repetition."""
    others = {run["repeat"]: run for run in theirs}
    return spread([combine(r, others[r["repeat"]]) for r in ours if r["repeat"] in others])


def share(result: BenchResult, width: str, side: str) -> Spread:
    """The part of the limit's speed that a side reaches."""
    ours, limit = (select(result, "limit", width, who) for who in (side, "limit"))
    return paired(ours, limit, lambda own, bare: bare["step_us"] / own["step_us"])


def epoch_overhead(result: BenchResult, part: str, point: str = "") -> Spread:
    """Milliseconds by which an epoch takes longer with Lightning."""
    raw, lightning = (select(result, part, point, side) for side in SIDES)
    return paired(raw, lightning, lambda ours, other: epoch_ms(other) - epoch_ms(ours))


def overhead_line(result: BenchResult) -> tuple[float, float]:
    """Lightning's overhead as a straight line over the length of an epoch: milliseconds for each
    epoch, and microseconds for each step."""
    counts = points(result, "steps")
    overheads = [epoch_overhead(result, "steps", count).median for count in counts]
    line = statistics.linear_regression([int(count) for count in counts], overheads)
    return line.intercept, line.slope * 1000


def epoch_ms(run: BenchRun) -> float:
    """Milliseconds of an epoch.

    Raises:
        ValueError: the run was stopped before one had ended.
    """
    if run["epoch_ms"] is None:
        raise ValueError(f"{run['who']} was timed for less than an epoch")
    return run["epoch_ms"]


def rung_us(run: BenchRun) -> float:
    """Microseconds of a step of a rung, with its part of what comes once in an epoch."""
    return epoch_ms(run) * 1000 / run["steps_per_epoch"]


class RungTimes(NamedTuple):
    """A rung: its name, that of the rung it is compared with, microseconds of a step, and what it
    adds to the other, if there is one."""

    name: str
    base: str
    us: Spread
    added: Spread | None


def rung_times(result: BenchResult) -> list[RungTimes]:
    """The rungs in their order."""
    rows = []
    for name, rung in RUNGS.items():
        own = select(result, "ladder", "", name)
        base = rung.base if rung else ""
        added = None
        if base:
            other = select(result, "ladder", "", base)
            added = paired(own, other, lambda a, b: rung_us(a) - rung_us(b))
        rows.append(RungTimes(name, base, spread([rung_us(run) for run in own]), added))
    return rows
