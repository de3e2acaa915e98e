"""Conditions and counters of the raw loop, and the lines in Lightning that decide and count the
same: what no trace can find, since no call is made."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import yaml

from shared.compare.source.lines import RAW
from shared.compare.trace.where import Line, source

LOOP = "raw_pytorch/train.py"


@dataclass(frozen=True)
class Kept:
    """Lines of the raw loop that do the same bookkeeping, the line of Lightning that does it there,
    and what one sets or overrides to change it. The line is None in a version that words it
    otherwise."""

    raw: tuple[Line, ...]
    lightning: Line | None
    change: str


def kept() -> list[Kept]:
    """What `bookkeeping.yaml` says, with the lines looked up, in the order of the loop."""
    found = [
        Kept(
            tuple(_find(LOOP, entry["raw"], loop_lines())),
            next(iter(_find(entry["file"], entry["text"])), None),
            entry["change"],
        )
        for entry in entries()
    ]
    return sorted(found, key=lambda k: [line.number for line in k.raw])


def entries() -> list[dict[str, str]]:
    return yaml.safe_load(Path(__file__).with_name("bookkeeping.yaml").read_text())


def loop_lines() -> list[int]:
    """The first line of every statement of the loop over epochs, the loop's own among them."""
    tree = ast.parse((RAW / "train.py").read_text())
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.While))
    return sorted({node.lineno for node in ast.walk(loop) if isinstance(node, ast.stmt)})


def _find(file: str, text: str, numbers: list[int] | None = None) -> list[Line]:
    lines = source(file)
    numbers = numbers or list(range(1, len(lines) + 1))
    found = [Line(file, n) for n in numbers if lines[n - 1].strip().startswith(text)]
    return found or [Line(file, n) for n in numbers if text in lines[n - 1]]
