"""Conditions and counters of the raw loop, and the lines in Lightning that decide and count the
same: what no trace can find, since no call is made."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import yaml

from shared.compare.lines import RAW
from shared.compare.where import Line, source

LOOP = "raw_pytorch/train.py"


@dataclass(frozen=True)
class Kept:
    """Lines of the raw loop that do the same bookkeeping, the line of Lightning that does it there,
    and what one sets or overrides to change it."""

    raw: tuple[Line, ...]
    lightning: Line
    change: str


def kept() -> list[Kept]:
    """From `bookkeeping.yaml`.

    Raises:
        ValueError: a text is not in the raw loop, or not in the installed version of Lightning.
    """
    entries = yaml.safe_load(Path(__file__).with_name("bookkeeping.yaml").read_text())
    return [
        Kept(
            tuple(_find(LOOP, entry["raw"], loop_lines())),
            _find(entry["file"], entry["text"])[0],
            entry["change"],
        )
        for entry in entries
    ]


def loop_lines() -> list[int]:
    """The first line of every statement of the loop over epochs, the loop's own among them."""
    tree = ast.parse((RAW / "train.py").read_text())
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.While))
    return sorted({node.lineno for node in ast.walk(loop) if isinstance(node, ast.stmt)})


def _find(file: str, text: str, numbers: list[int] | None = None) -> list[Line]:
    lines = source(file)
    numbers = numbers or list(range(1, len(lines) + 1))
    found = [Line(file, n, "") for n in numbers if lines[n - 1].strip().startswith(text)]
    found = found or [Line(file, n, "") for n in numbers if text in lines[n - 1]]
    if not found:
        raise ValueError(f"{file} has no line with {text}; mend bookkeeping.yaml")
    return found
