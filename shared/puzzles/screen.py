"""Lines for a terminal of 80 columns, in both languages, and curves in one line."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

WIDTH = 78
BARS = "▁▂▃▄▅▆▇█"
NO_NUMBER = "×"


def width(text: str) -> int:
    """Columns that a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of at most `WIDTH` columns, broken at spaces and between Chinese characters. No line
    begins with what closes a sentence or a bracket."""
    lines, line = [], indent
    for word in _pieces(text):
        if width(line + word.rstrip()) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line, word = indent, word.lstrip()
        line += word
    return [*lines, line.rstrip()]


def _pieces(text: str) -> list[str]:
    """What may stand at the end of a line, with the space after it."""
    pieces: list[str] = []
    for letter in text:
        is_wide = width(letter) == 2
        closes = unicodedata.category(letter) in ("Po", "Pe", "Pf")
        if not pieces or (pieces[-1].endswith(" ") and letter != " "):
            pieces.append(letter)
        elif (is_wide or width(pieces[-1][-1]) == 2) and not closes and letter != " ":
            opens = unicodedata.category(pieces[-1][-1]) in ("Ps", "Pi")
            pieces[-1:] = [pieces[-1] + letter] if opens else [pieces[-1], letter]
        else:
            pieces[-1] += letter
    return pieces


def padded(text: str, columns: int) -> str:
    return text + " " * max(0, columns - width(text))


def sparkline(values: Sequence[float], columns: int = 40) -> str:
    """A curve in one line: a bar for each value or, of many values, for some of them."""
    step = max(1, math.ceil(len(values) / columns))
    shown = list(values)[::step]
    numbers = [value for value in shown if math.isfinite(value)]
    if not numbers:
        return NO_NUMBER * len(shown)
    low, size = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return "".join(
        BARS[int((value - low) / size * (len(BARS) - 1))] if math.isfinite(value) else NO_NUMBER
        for value in shown
    )
