"""The curves of two runs, drawn so that two lines that coincide are visibly two."""

from __future__ import annotations

from typing import Any

from shared.compare.runs import FinishedRun
from shared.reporting.drawing import STAND_INS, draw_svg, for_page


def draw_curves(raw: FinishedRun, lightning: FinishedRun, quantity: str) -> str:
    """An SVG of training and validation over the steps.

    Args:
        quantity: loss or accuracy.
    """

    def plot(axes: Any) -> None:
        for part in ("train", "val"):
            tag = f"{part}/{quantity}"
            ours, theirs = raw.scalars.get(tag, {}), lightning.scalars.get(tag, {})
            wide = dict(
                color=STAND_INS[f"{part}-wide"], linewidth=6, solid_capstyle="round", zorder=2
            )
            thin = dict(
                color=STAND_INS[part], linewidth=1.3, linestyle=(0, (4, 2)), marker=".", zorder=3
            )
            axes.plot(list(ours), list(ours.values()), label=f"{tag}, raw_pytorch", **wide)
            axes.plot(list(theirs), list(theirs.values()), label=f"{tag}, lightning", **thin)
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)

    return for_page(draw_svg(quantity, plot), quantity)
