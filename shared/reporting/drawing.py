"""Drawings as SVG, for a page whose style sheet has their colours, or for a file of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that the page's style sheet has for light and dark; a drawing in a file of its own gets
# those below.
NAMES = ("raw", "lightning", "text", "grid", "train", "val", "train-wide", "val-wide")
IN_A_FILE = {"raw": "#b3541e", "lightning": "#5b3fd6", "text": "#222222", "grid": "#cccccc"}
# matplotlib takes no names of a style sheet: it draws with these, and they are replaced.
STAND_INS = {name: f"#0000f{number}" for number, name in enumerate(NAMES)}


def draw_svg(name: str, plot: Callable[[Axes], None]) -> str:
    """One drawing as SVG, in stand-ins for its colours.

    Args:
        plot: draws onto the axes, with the colours in `STAND_INS`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    text, grid = STAND_INS["text"], STAND_INS["grid"]
    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "font.family": "sans-serif",
        "text.color": text, "axes.labelcolor": text, "xtick.color": text, "ytick.color": text,
        "axes.edgecolor": grid, "grid.color": grid,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        plot(axes)
        axes.grid(linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8, handlelength=3.5)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def for_file(svg: str) -> str:
    """A drawing with colours of its own."""
    for name, colour in IN_A_FILE.items():
        svg = svg.replace(STAND_INS[name], colour)
    return svg


def for_page(svg: str, name: str) -> str:
    """A drawing as a part of a page, whose style sheet gives it its colours.

    Args:
        name: what a reader who does not see it is told, and what its ids begin with.
    """
    svg = svg[svg.index("<svg") :]
    # What no eye sees.
    svg = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)  # that of the page
    # Several drawings stand on one page: their ids must not meet.
    for mark in ('id="', "url(#", 'href="#'):
        svg = svg.replace(mark, f"{mark}{name.replace(' ', '-')}-")
    for colour, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
