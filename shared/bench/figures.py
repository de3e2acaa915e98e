"""The figures of a bench, with error bars from the least to the most of the repetitions."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.bench import tables
from shared.bench.tables import Spread, select, spread
from shared.compare.page.words import english
from shared.files import SIDES, write_atomically

# Stand-ins for colours: the page's style sheet has them for light and dark, a file of its own gets
# those on the right.
COLOURS = {
    "raw": ("#0000f1", "#b3541e"),
    "lightning": ("#0000f2", "#5b3fd6"),
    "text": ("#0000f3", "#222222"),
    "grid": ("#0000f4", "#cccccc"),
}
RAW, LIGHTNING, TEXT, GRID = (stand_in for stand_in, _ in COLOURS.values())


def overhead(axes: Any, result: dict[str, Any]) -> None:
    counts = tables.points(result, "steps")
    spreads = [tables.epoch_overhead(result, "steps", count) for count in counts]
    bars(axes, [int(count) for count in counts], spreads, LIGHTNING, "lightning, less raw_pytorch")
    per_epoch, per_step = tables.overhead_line(result)
    ends = [0, max(int(count) for count in counts)]
    line = [per_epoch + per_step / 1000 * count for count in ends]
    label = f"{per_epoch:.1f} ms + {per_step:.0f} µs a step"
    axes.plot(ends, line, color=LIGHTNING, linewidth=1, linestyle=":", label=label)
    axes.set(xlabel="steps in an epoch", ylabel="ms more for an epoch")


def sides(part: str, label: str) -> Callable[[Any, dict[str, Any]], None]:
    def draw(axes: Any, result: dict[str, Any]) -> None:
        counts = tables.points(result, part)
        for side, colour in zip(SIDES, (RAW, LIGHTNING), strict=True):
            groups = [select(result, part, count, side) for count in counts]
            there = [(int(c), g) for c, g in zip(counts, groups, strict=True) if g]
            spreads = [spread([row["step_us"] / 1000 for row in group]) for _, group in there]
            bars(axes, [count for count, _ in there], spreads, colour, side)
        axes.set(xlabel=label, ylabel="ms a step")
        axes.set_ylim(bottom=0)

    return draw


def width(axes: Any, result: dict[str, Any]) -> None:
    widths = tables.points(result, "limit")
    for side, colour in zip(SIDES, (RAW, LIGHTNING), strict=True):
        shares = [tables.share(result, width, side) for width in widths]
        percent = [Spread(*(100 * value for value in share)) for share in shares]
        bars(axes, [int(width) for width in widths], percent, colour, side)
    axes.axhline(100, color=TEXT, linewidth=1, linestyle=":")
    axes.set(xlabel="channels of the first convolution", ylabel="% of the limit's speed")


def ladder(axes: Any, result: dict[str, Any]) -> None:
    rows = [row for row in tables.ladder(result) if row[3] is not None][::-1]
    medians = [added.median for *_, added in rows]
    errors = [
        [added.median - added.least for *_, added in rows],
        [added.most - added.median for *_, added in rows],
    ]
    names = [english(f"rung {name}") for name, *_ in rows]
    axes.barh(names, medians, xerr=errors, color=LIGHTNING, ecolor=TEXT, capsize=2)
    axes.set(xlabel="µs a step more")


def bars(axes: Any, at: list[int], spreads: list[Spread], colour: str, label: str) -> None:
    errors = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
    medians = [s.median for s in spreads]
    axes.errorbar(at, medians, errors, color=colour, marker="o", capsize=3, label=label)
    axes.set_xticks(at)


# For each figure, the part whose runs it needs.
FIGURES: dict[str, tuple[str, Callable[[Any, dict[str, Any]], None]]] = {
    "overhead": ("steps", overhead),
    "ladder": ("ladder", ladder),
    "width": ("limit", width),
    "batch_size": ("batch_size", sides("batch_size", "images in a batch")),
    "workers": ("workers", sides("workers", "workers that load batches")),
}


def draw(name: str, result: dict[str, Any]) -> str:
    """One figure as SVG, in stand-ins for colours."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "font.family": "sans-serif",
        "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
        "axes.edgecolor": GRID, "grid.color": GRID,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        FIGURES[name][1](axes, result)
        axes.grid(linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def there(result: dict[str, Any]) -> list[str]:
    """The figures whose runs were made."""
    parts = {row["part"] for row in result["runs"]}
    return [name for name, (part, _) in FIGURES.items() if part in parts]


def draw_all(result: dict[str, Any], folder: Path) -> None:
    """Write each figure as a file of its own."""
    for name in there(result):
        svg = draw(name, result)
        for stand_in, colour in COLOURS.values():
            svg = svg.replace(stand_in, colour)
        write_atomically(folder / f"{name}.svg", svg)


def for_page(name: str, result: dict[str, Any]) -> str:
    """A figure as a part of the page, whose style sheet gives it its colours."""
    svg = draw(name, result)
    svg = svg[svg.index("<svg") :]
    # Several drawings stand on one page: their ids must not meet.
    for mark in ('id="', "url(#", 'href="#'):
        svg = svg.replace(mark, f"{mark}bench-{name}-")
    for colour, (stand_in, _) in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name.replace("_", " ")}" ', 1)
