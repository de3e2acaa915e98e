"""Which lines of both sides deal with which concern, by the tags in their comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.compare.source.lines import code_lines

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
    """For each tag, the places in a folder that it marks.

    A tag marks the statement or the argument on its line, or, on a line of its own, the one below;
    in a docstring, all of its function, class or file. Of a loop or a block it marks the first line
    only, since what is in it has tags of its own; a plain `if` it marks whole.
    """
    found: dict[str, list[Place]] = {}
    for path in sorted(folder.glob("*.py")):
        source = path.read_text()
        text, code, tree = source.splitlines(), code_lines(source), ast.parse(source)
        marks: list[tuple[str, int, set[int]]] = []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                for tag in TAG.findall(token.string):
                    line = next(n for n in range(token.start[0], len(text) + 1) if n in code)
                    marks.append((tag, line, _marked(tree, line)))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for tag in TAG.findall(ast.get_docstring(node) or ""):
                    first = getattr(node, "lineno", 1)
                    lines = set(range(first, getattr(node, "end_lineno", len(text)) + 1))
                    marks.append((tag, first, lines))
        for tag, first, lines in marks:
            shown = text[first - 1].split("  # ")[0].strip().rstrip(",")
            found.setdefault(tag, []).append(Place(path.name, frozenset(lines & code), shown))
    return found


def _marked(tree: ast.Module, line: int) -> set[int]:
    starting = [n for n in ast.walk(tree) if getattr(n, "lineno", 0) == line]
    statements = [n for n in starting if isinstance(n, (ast.stmt, ast.keyword))]
    if not statements:
        return {line}
    node = max(statements, key=_end)
    body: list[ast.stmt] = getattr(node, "body", [])
    inner = [n for n in ast.walk(node) if n is not node and hasattr(n, "body")]
    if body and (inner or not isinstance(node, ast.If)):
        return set(range(line, body[0].lineno))
    return set(range(line, _end(node) + 1))


def _end(node: ast.stmt | ast.keyword) -> int:
    return node.end_lineno or node.lineno


def total(places: list[Place]) -> int:
    """Lines of code of all places together, each line once."""
    return len({(place.file, line) for place in places for line in place.lines})
