"""Which lines of both sides deal with which concern, by the tags in their comments.

A tag at the end of a line marks the statement or the argument that begins there; of a loop or
another block in which there are tags, the first line only. A tag in a comment on a line of its own
marks all statements below, up to an empty line or the next such comment; between arguments, the one
below. What has a tag of its own is not marked by a comment above. In a docstring, a tag marks all
of its function, class or file.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.compare.source.lines import APART, code_lines

# The tags, in the order in which a run comes to them.
CONCERNS = (
    "seed", "device", "precision", "ddp", "data", "resume", "train", "accumulate", "clip",
    "schedule", "validate", "early-stop", "checkpoint", "log", "progress", "test", "predict",
)  # fmt: skip
TAG = re.compile(r"\[([a-z][a-z-]*)\]")


@dataclass(frozen=True)
class Place:
    """Where a concern is dealt with: lines of code of one file, and the first of them as text."""

    file: str
    lines: frozenset[int]
    text: str


@cache
def concerns(folder: Path) -> dict[str, list[Place]]:
    """For each tag, the places in a folder that it marks."""
    found: dict[str, list[Place]] = {}
    for path in sorted(folder.glob("*.py")):
        source = path.read_text()
        text = source.splitlines()
        for tag, first, lines in marks(source):
            shown = text[first - 1].split("  # ")[0].strip().rstrip(",")
            found.setdefault(tag, []).append(Place(path.name, lines, shown))
    return found


def total(places: list[Place]) -> int:
    """Lines of code of all places together, each line once; files that no total counts left out."""
    counted = [place for place in places if place.file not in APART]
    return len({(place.file, line) for place in counted for line in place.lines})


def marks(source: str) -> list[tuple[str, int, frozenset[int]]]:
    """The tags in a file, those in comments first: each with the first line that it marks, and with
    all of them."""
    nodes, text = list(ast.walk(ast.parse(source))), source.splitlines()
    code = code_lines(source)
    tags = {
        token.start[0]: TAG.findall(token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and TAG.search(token.string)
    }
    beside = {row: _beside(nodes, row, tags.keys()) for row in tags.keys() & code}
    found = []
    for comment in sorted(tags):
        row = next(n for n in range(comment, len(text) + 1) if n in code)
        if row == comment:
            lines = beside[row]
        else:
            lines = _below(nodes, row, text)
            lines -= {n for other in beside.keys() & lines for n in beside[other]}
        found += [(tag, row, lines) for tag in tags[comment]]
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            first = getattr(node, "lineno", 1)
            lines = set(range(first, getattr(node, "end_lineno", len(text)) + 1))
            found += [(tag, first, lines) for tag in TAG.findall(ast.get_docstring(node) or "")]
    return [(tag, first, frozenset(lines & code)) for tag, first, lines in found]


def _beside(nodes: list[ast.AST], row: int, tagged: Collection[int]) -> set[int]:
    """What a tag at the end of a line marks; `tagged` are the lines of all comments with tags."""
    for node in nodes:
        # Where a line says `else:`, no statement begins.
        body, after = _statements(node, "body"), _statements(node, "orelse")
        if body and after and _lines(body[-1])[-1] < row < after[0].lineno:
            return set(range(row, _lines(after[-1])[-1] + 1))
    for end in ("lineno", "end_lineno"):
        there = [n for n in nodes if getattr(n, end, 0) == row]
        if there:
            node = max(there, key=lambda n: len(_lines(n)))
            body = _statements(node, "body")
            has_tags = any(line in tagged for line in _lines(node) if line != row)
            return set(range(row, body[0].lineno)) if body and has_tags else set(_lines(node))
    return {row}


def _below(nodes: list[ast.AST], row: int, text: list[str]) -> set[int]:
    """What a tag above marks: from the statement that begins on the line to an empty line or to the
    next comment with a tag; where no statement begins there, the argument."""
    for node in nodes:
        for siblings in (_statements(node, "body"), _statements(node, "orelse")):
            starts = [n.lineno for n in siblings]
            if row not in starts:
                continue
            lines: set[int] = set()
            for sibling in siblings[starts.index(row) :]:
                between = text[max(lines) : sibling.lineno - 1] if lines else []
                if any(not line.strip() or TAG.search(line) for line in between):
                    break
                lines.update(_lines(sibling))
            return lines
    return _beside(nodes, row, ())


def _lines(node: ast.AST) -> range:
    first = getattr(node, "lineno", 1)
    return range(first, (getattr(node, "end_lineno", None) or first) + 1)


def _statements(node: ast.AST, part: str) -> list[ast.stmt]:
    """The statements in a part of a block; in that of an expression, there are none."""
    statements = getattr(node, part, [])
    return statements if isinstance(statements, list) else []
