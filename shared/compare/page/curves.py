"""The curves of two runs, drawn so that two lines that coincide are visibly two."""

from __future__ import annotations

import io

from shared.compare.runs import Run

# Stand-ins that the page's style sheet replaces by colours for light and for dark.
COLOURS = {
    "train": "#0000f1", "val": "#0000f2", "text": "#0000f3", "grid": "#0000f4",
    "train-wide": "#0000f5", "val-wide": "#0000f6",
}  # fmt: skip


def draw(raw: Run, lightning: Run, quantity: str) -> str:
    """An SVG of training and validation over the steps.

    Args:
        quantity: loss or accuracy.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none", "svg.hashsalt": quantity, "font.size": 9,
        "font.family": "sans-serif", "text.color": COLOURS["text"],
        "axes.labelcolor": COLOURS["text"], "xtick.color": COLOURS["text"],
        "ytick.color": COLOURS["text"], "axes.edgecolor": COLOURS["grid"],
        "grid.color": COLOURS["grid"],
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for part in ("train", "val"):
            tag = f"{part}/{quantity}"
            ours, theirs = raw.scalars.get(tag, {}), lightning.scalars.get(tag, {})
            wide = dict(
                color=COLOURS[f"{part}-wide"], linewidth=6, solid_capstyle="round", zorder=2
            )
            thin = dict(
                color=COLOURS[part], linewidth=1.3, linestyle=(0, (4, 2)), marker=".", zorder=3
            )
            axes.plot(list(ours), list(ours.values()), label=f"{tag}, raw_pytorch", **wide)
            axes.plot(list(theirs), list(theirs.values()), label=f"{tag}, lightning", **thin)
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, handlelength=3.5)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    # Two drawings stand on one page: their ids must not meet.
    for mark in ('id="', "url(#", 'href="#'):
        svg = svg.replace(mark, f"{mark}{quantity}-")
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{quantity}" ', 1)
