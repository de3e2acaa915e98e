"""The gallery of mistakes as a section of the page: what `make mistakes` has left in
runs/mistakes/mistakes.json, with small curves for each."""

from __future__ import annotations

import json
import math
from typing import Any

from shared.compare.page.words import mistakes
from shared.files import RUNS

WIDTH, HEIGHT = 180, 44


def exhibits() -> list[dict[str, Any]]:
    """The rows of the gallery, each with `lines`, for each curve that both runs have its points
    without and with the mistake, in a drawing of WIDTH by HEIGHT; and with `zh`, its words in
    Chinese. Empty where the gallery was not run."""
    path = RUNS / "mistakes" / "mistakes.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    for row in rows:
        curves = [row[key]["curves"] for key in ("without", "with")]
        row["lines"] = {
            tag: _lines([c[tag] for c in curves]) for tag in curves[0] if tag in curves[1]
        }
        row["zh"] = mistakes().get(row["mistake"], {"zh": row["mistake"], **row})
    return rows


def _lines(curves: list[list[float]]) -> list[str]:
    # In logarithms: a loss that runs away would flatten all the others.
    logs = [[math.log10(max(v, 1e-6)) for v in curve if math.isfinite(v)] for curve in curves]
    values = [value for curve in logs for value in curve]
    if not values:
        return ["", ""]
    across = WIDTH / max(1, *(len(curve) - 1 for curve in logs))
    low, span = min(values), (max(values) - min(values)) or 1.0

    def point(step: int, value: float) -> str:
        return f"{step * across:.1f},{2 + (1 - (value - low) / span) * (HEIGHT - 4):.1f}"

    return [" ".join(point(*pair) for pair in enumerate(curve)) for curve in logs]
