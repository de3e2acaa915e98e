"""The gallery of mistakes as a section of the page: what `make mistakes` has left in
runs/mistakes/mistakes.json, with small curves for each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from shared.files import RUNS
from shared.mistakes.catalogue import mistakes
from shared.mistakes.gallery import Exhibit
from shared.reporting.words import Text

WIDTH, HEIGHT = 180, 44


@dataclass(frozen=True)
class Shown:
    """A mistake as the page shows it.

    Attributes:
        name: of the mistake, in both languages.
        lines: for each curve that both runs have, the points without and with the mistake, in a
            drawing of WIDTH by HEIGHT.
    """

    name: Text
    row: Exhibit
    lines: dict[str, tuple[str, str]]


def shown_mistakes() -> list[Shown]:
    """The gallery, empty where it was not made."""
    path = RUNS / "mistakes" / "mistakes.json"
    rows: list[Exhibit] = json.loads(path.read_text())["rows"] if path.is_file() else []
    names = {mistake.name: mistake.shown for mistake in mistakes()}
    return [
        # One that the catalogue no longer has keeps its name.
        Shown(
            names.get(row["mistake"], dict.fromkeys(("en", "zh"), row["mistake"])), row, _both(row)
        )
        for row in rows
    ]


def _both(row: Exhibit) -> dict[str, tuple[str, str]]:
    right, wrong = row["right"]["curves"], row["wrong"]["curves"]
    return {tag: _lines(right[tag], wrong[tag]) for tag in right if tag in wrong}


def _lines(right: list[float], wrong: list[float]) -> tuple[str, str]:
    # In logarithms: a loss that runs away would flatten all the others.
    curves = [[math.log10(max(v, 1e-6)) for v in c if math.isfinite(v)] for c in (right, wrong)]
    values = [value for curve in curves for value in curve]
    if not values:
        return "", ""
    across = WIDTH / max(1, *(len(curve) - 1 for curve in curves))
    low, span = min(values), (max(values) - min(values)) or 1.0

    def point(step: int, value: float) -> str:
        return f"{step * across:.1f},{2 + (1 - (value - low) / span) * (HEIGHT - 4):.1f}"

    before, after = (" ".join(point(*pair) for pair in enumerate(curve)) for curve in curves)
    return before, after
