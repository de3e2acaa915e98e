"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A table, without a line end at its end.

    Args:
        head: the titles of the columns.
        align: for each column, l where it holds words and r where it holds numbers.
    """
    marks = [{"l": "---", "r": "---:"}[letter] for letter in align]
    lines = [head, marks, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    for line in lines:
        if len(line) != len(head):
            raise ValueError(f"{len(line)} cells under {len(head)} titles: {line}")
    return "\n".join(
        "|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines
    )
