"""The figures of a bench, with error bars from the least to the most of the repetitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shared.bench.results import BenchResult
from shared.bench.spreads import (
    GROWTH,
    Spread,
    epoch_overhead,
    line,
    measured,
    overhead_line,
    points,
    rung_times,
    share,
)
from shared.bench.words import say
from shared.files import SIDES, write_atomically
from shared.reporting.drawing import STAND_INS, draw_svg, for_file, for_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RAW, LIGHTNING, TEXT = (STAND_INS[name] for name in ("raw", "lightning", "text"))
Plot = Callable[["Axes", BenchResult], None]


def overhead(axes: Axes, result: BenchResult) -> None:
    counts = points(result, "steps")
    spreads = [epoch_overhead(result, "steps", count) for count in counts]
    bars(axes, [int(count) for count in counts], spreads, LIGHTNING, "lightning, less raw_pytorch")
    per_epoch, per_step = overhead_line(result)
    ends = [0, max(int(count) for count in counts)]
    line = [per_epoch + per_step / 1000 * count for count in ends]
    label = f"{per_epoch:.1f} ms + {per_step:.0f} µs a step"
    axes.plot(ends, line, color=LIGHTNING, linewidth=1, linestyle=":", label=label)
    axes.set(xlabel="steps in an epoch", ylabel="ms more for an epoch")


def sides(part: str, x: str, y: str) -> Plot:
    """Both sides over an axis of growth, with the straight line through their medians."""

    def plot(axes: Axes, result: BenchResult) -> None:
        counts = points(result, part)
        for side, colour in zip(SIDES, (RAW, LIGHTNING), strict=True):
            found = {int(n): measured(result, part, n, side, GROWTH[part]) for n in counts}
            there = {count: cell for count, cell in found.items() if cell is not None}
            label = side
            if straight := line(result, part, side):
                ends = [0, max(there)]
                heights = [straight.at_nothing + straight.each * end for end in ends]
                axes.plot(ends, heights, color=colour, linewidth=1, linestyle=":")
                label = f"{side}: {straight.at_nothing:.1f} + {straight.each:.2f} n"
            bars(axes, [*there], [*there.values()], colour, label)
        axes.set(xlabel=x, ylabel=y)
        axes.set_ylim(bottom=0)

    return plot


def width(axes: Axes, result: BenchResult) -> None:
    widths = points(result, "limit")
    for side, colour in zip(SIDES, (RAW, LIGHTNING), strict=True):
        shares = [share(result, width, side) for width in widths]
        percent = [Spread(*(100 * value for value in share)) for share in shares]
        bars(axes, [int(width) for width in widths], percent, colour, side)
    axes.axhline(100, color=TEXT, linewidth=1, linestyle=":")
    axes.set(xlabel="channels of the first convolution", ylabel="% of the limit's speed")


def ladder(axes: Axes, result: BenchResult) -> None:
    added = {rung.name: rung.added for rung in rung_times(result)[::-1] if rung.added}
    medians = [a.median for a in added.values()]
    errors = [
        [a.median - a.least for a in added.values()],
        [a.most - a.median for a in added.values()],
    ]
    names = [say(f"rung {name}").replace("`", "") for name in added]
    axes.barh(names, medians, xerr=errors, color=LIGHTNING, ecolor=TEXT, capsize=2)
    axes.set(xlabel="µs a step more")
    axes.locator_params(axis="x", nbins=5)


def bars(axes: Axes, at: list[int], spreads: list[Spread], colour: str, label: str) -> None:
    errors = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
    medians = [s.median for s in spreads]
    axes.errorbar(at, medians, errors, color=colour, marker="o", capsize=3, label=label)
    axes.set_xticks(at)


# For each figure, the part whose runs it needs.
FIGURES: dict[str, tuple[str, Plot]] = {
    "overhead": ("steps", overhead),
    "ladder": ("ladder", ladder),
    "width": ("limit", width),
    "channels": ("limit", sides("limit", "channels of the first convolution", "ms a step")),
    "batch_size": ("batch_size", sides("batch_size", "images in a batch", "ms a step")),
    "epochs": ("epochs", sides("epochs", "epochs", "ms to train")),
    "steps": ("steps", sides("steps", "batches of 8 pictures", "ms an epoch")),
    "processes": ("processes", sides("processes", "processes", "ms an epoch")),
    "workers": ("workers", sides("workers", "workers that load batches", "ms an epoch")),
}


def drawable(result: BenchResult) -> list[str]:
    """The figures whose runs were made."""
    parts = {row["part"] for row in result["runs"]}
    return [name for name, (part, _) in FIGURES.items() if part in parts]


def figure_svg(name: str, result: BenchResult) -> str:
    """One figure, in stand-ins for its colours."""
    plot = FIGURES[name][1]
    return draw_svg(name, lambda axes: plot(axes, result))


def write_figures(result: BenchResult, folder: Path) -> None:
    """Write each figure as a file of its own."""
    for name in drawable(result):
        write_atomically(folder / f"{name}.svg", for_file(figure_svg(name, result)))


def svg_for_page(name: str, result: BenchResult) -> str:
    """A figure as a part of the page."""
    return for_page(figure_svg(name, result), name.replace("_", " "))
