"""What the runs of a bench say together, as numbers.

Several repetitions give their median and a range that holds it. Where two programs are compared,
each repetition is compared with its own neighbour in time, and the median is that of the
comparisons.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable
from math import comb
from typing import NamedTuple

from shared.bench.results import BenchResult, BenchRun
from shared.bench.timed.ladder import RUNGS
from shared.files import SIDES


class Spread(NamedTuple):
    """The median of several repetitions, and the least and the most that it may well be."""

    median: float
    least: float
    most: float

    def text(self, form: str = ",.0f") -> str:
        median, least, most = (format(value, form) for value in self)
        return f"{median} ({least}–{most})"


def spread(values: list[float]) -> Spread:
    """The median, and the narrowest pair of values that has it between them with a certainty of
    95 %, however the values are distributed. Of fewer than six, that is not to be had: then the
    least and the most.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside = 0  # values at each end that are left out
    # The true median lies below the nth value as often as so few of `count` coins show heads.
    while 2 * sum(comb(count, heads) for heads in range(outside + 2)) <= 0.05 * 2**count:
        outside += 1
    return Spread(statistics.median(ordered), ordered[outside], ordered[-1 - outside])


def select(result: BenchResult, part: str, point: str, who: str) -> list[BenchRun]:
    """The repetitions of one kind of run, in order."""
    runs = [r for r in result["runs"] if (r["part"], r["point"], r["who"]) == (part, point, who)]
    return sorted(runs, key=lambda run: run["repeat"])


def points(result: BenchResult, part: str) -> list[str]:
    """Where runs of a part stand on its axis, in order."""
    return sorted({run["point"] for run in result["runs"] if run["part"] == part}, key=int)


def paired(
    ours: list[BenchRun], theirs: list[BenchRun], combine: Callable[[BenchRun, BenchRun], float]
) -> Spread:
    """What `combine` makes of the runs of the same repetition."""
    others = {run["repeat"]: run for run in theirs}
    return spread([combine(r, others[r["repeat"]]) for r in ours if r["repeat"] in others])


Measure = Callable[[BenchRun], "float | None"]
# Milliseconds of an epoch.
EPOCH: Measure = operator.itemgetter("epoch_ms")


def number(run: BenchRun, measure: Measure) -> float:
    """What is measured of a run.

    Raises:
        ValueError: this run has no such number.
    """
    value = measure(run)
    if value is None:
        raise ValueError(f"{run['part']}, {run['who']}: a number is asked for that it has not")
    return value


def measured(
    result: BenchResult, part: str, point: str, who: str, measure: Measure
) -> Spread | None:
    """What is measured of the repetitions of a run; None where there are none with that number."""
    values = [measure(run) for run in select(result, part, point, who)]
    there = [value for value in values if value is not None]
    return spread(there) if there and len(there) == len(values) else None


def ratio(
    result: BenchResult, part: str, point: str, over: str, under: str, measure: Measure
) -> Spread:
    """How many times as much one takes as the other that ran beside it."""
    ours, theirs = (select(result, part, point, who) for who in (over, under))
    return paired(ours, theirs, lambda a, b: number(a, measure) / number(b, measure))


def share(result: BenchResult, width: str, side: str) -> Spread:
    """The part of the limit's speed that a side reaches."""
    return ratio(result, "limit", width, "limit", side, lambda run: run["step_us"])


def epoch_overhead(result: BenchResult, part: str, point: str = "") -> Spread:
    """Milliseconds by which an epoch takes longer with Lightning."""
    raw, lightning = (select(result, part, point, side) for side in SIDES)
    return paired(raw, lightning, lambda ours, other: number(other, EPOCH) - number(ours, EPOCH))


def overhead_line(result: BenchResult) -> tuple[float, float]:
    """Lightning's overhead as a straight line over the length of an epoch: milliseconds for each
    epoch, and microseconds for each step."""
    counts = points(result, "steps")
    overheads = [epoch_overhead(result, "steps", count).median for count in counts]
    line = statistics.linear_regression([int(count) for count in counts], overheads)
    return line.intercept, line.slope * 1000


def rung_us(run: BenchRun) -> float:
    """Microseconds of a step of a rung, with its part of what comes once in an epoch."""
    return number(run, EPOCH) * 1000 / run["steps_per_epoch"]


class RungTimes(NamedTuple):
    """A rung: its name, that of the rung it is compared with, microseconds of a step, what it adds
    to the other, if there is one, and what it adds to the loop that has no Trainer."""

    name: str
    base: str
    us: Spread
    added: Spread | None
    over_loop: Spread


def rung_times(result: BenchResult) -> list[RungTimes]:
    """The rungs in their order."""
    rows = []

    def over(name: str, base: str) -> Spread:
        own, other = (select(result, "ladder", "", who) for who in (name, base))
        return paired(own, other, lambda a, b: rung_us(a) - rung_us(b))

    for name, rung in RUNGS.items():
        us = spread([rung_us(run) for run in select(result, "ladder", "", name)])
        base = rung.base if rung else ""
        added = over(name, base) if base else None
        rows.append(RungTimes(name, base, us, added, over(name, "loop")))
    return rows


class Line(NamedTuple):
    """A straight line through the medians of an axis: `at_nothing` at zero, `each` more for every
    one of what the axis counts, and the farthest that a median lies from it, in parts of itself."""

    at_nothing: float
    each: float
    farthest: float


# For each axis of growth: what is measured on it, and in which unit.
GROWTH: dict[str, Measure] = {
    "epochs": lambda run: run["fit_s"] and run["fit_s"] * 1000,
    "steps": EPOCH,
    "batch_size": lambda run: run["step_us"] and run["step_us"] / 1000,
    "limit": lambda run: run["step_us"] and run["step_us"] / 1000,
    "processes": EPOCH,
    "workers": EPOCH,
}


def line(result: BenchResult, part: str, who: str) -> Line | None:
    """How the milliseconds of `GROWTH` grow along an axis; None with fewer than two points."""
    there = {}
    for point in points(result, part):
        if found := measured(result, part, point, who, GROWTH[part]):
            there[int(point)] = found.median
    if len(there) < 2:
        return None
    each, at_nothing = statistics.linear_regression([*there], [*there.values()])
    farthest = max(abs(at_nothing + each * x - y) / y for x, y in there.items())
    return Line(at_nothing, each, farthest)
