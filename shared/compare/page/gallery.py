"""The gallery of mistakes as a part of the page: what `make mistakes` has left, or else the one
that is kept."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.files import RUNS
from shared.mistakes.catalogue import GALLERY, mistakes
from shared.reporting.words import Text

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from shared.mistakes.gallery import Exhibit

WIDTH, HEIGHT = 400, 112


@dataclass(frozen=True)
class Shown:
    """A mistake as the page shows it.

    Attributes:
        name: of the mistake, in both languages.
        right, wrong: the points of the training loss without and with the mistake, in a drawing of
            WIDTH by HEIGHT.
        said: the finding of the divergence tool, without what stands around it, line by line.
    """

    name: Text
    row: Exhibit
    right: str
    wrong: str
    said: list[str]

    @property
    def harm(self) -> float:
        """What it takes from the test accuracy."""
        return self.row["right"]["test_accuracy"] - self.row["wrong"]["test_accuracy"]


@dataclass(frozen=True)
class Gallery:
    """The mistakes, the most harmful first; where and when they were made, if they come from the
    repository."""

    shown: list[Shown]
    machine: str
    date: str


def gallery() -> Gallery:
    path = RUNS / "mistakes" / "mistakes.json"
    content = json.loads((path if path.is_file() else GALLERY).read_text(encoding="utf-8"))
    names = {mistake.name: mistake.shown for mistake in mistakes()}
    shown = [
        Shown(
            # One that the catalogue no longer has keeps its name.
            names.get(row["mistake"], dict.fromkeys(("en", "zh"), row["mistake"])),
            row,
            *_lines(*(row[key]["curves"]["train/loss"] for key in ("right", "wrong"))),
            # The page folds lines by itself.
            re.sub(r"\n {4,}", " ", row["instrument"].strip().split("\n\n")[0]).splitlines(),
        )
        for row in content["rows"]
    ]
    machine = content.get("machine")
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}" if machine else ""
    return Gallery(sorted(shown, key=lambda s: -s.harm), where, content.get("date", ""))


def _lines(right: list[float], wrong: list[float]) -> tuple[str, str]:
    # In logarithms: a loss that runs away would flatten all the others.
    curves = [[math.log10(max(v, 1e-6)) for v in c if math.isfinite(v)] for c in (right, wrong)]
    values = [value for curve in curves for value in curve]
    if not values:
        return "", ""
    across = WIDTH / max(1, *(len(curve) - 1 for curve in curves))
    low, span = min(values), (max(values) - min(values)) or 1.0

    def point(step: int, value: float) -> str:
        return f"{step * across:.0f},{2 + (1 - (value - low) / span) * (HEIGHT - 4):.0f}"

    before, after = (" ".join(point(*pair) for pair in enumerate(curve)) for curve in curves)
    return before, after
