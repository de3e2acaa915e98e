"""Lines of code of both sides, counted by Python's tokenizer: a line counts if it holds a token
that is neither a comment nor part of a docstring."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RAW, LIGHTNING = ROOT / "raw_pytorch", ROOT / "lightning"
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


TAG = re.compile(r"\[([a-z][a-z-]*)\]")


def count(path: Path) -> int:
    return len(code_lines(path.read_text()))


def code_lines(source: str) -> set[int]:
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    return code - docstrings


def replacement(path: Path) -> str:
    """What takes the place of a file that only the raw side has, from its opening lines."""
    head = path.read_text().split('"""')[1]
    return " ".join(head.split("Lightning: ", 1)[1].split())


def files() -> list[tuple[str, int, int | None, str]]:
    """For each file: its name, the lines of the raw side, those of the Lightning side or None, and
    what replaces it there."""
    rows = []
    for path in sorted(RAW.glob("*.py")):
        if path.name == "__init__.py":
            continue
        other = LIGHTNING / path.name
        if other.exists():
            rows.append((path.name, count(path), count(other), ""))
        else:
            rows.append((path.name, count(path), None, replacement(path)))
    # Mirrored files first, in the order in which one reads them.
    order = "minimal.py __main__.py module.py data.py train.py test.py predict.py".split()
    return sorted(
        rows, key=lambda r: (r[2] is None, order.index(r[0]) if r[0] in order else 0, r[0])
    )


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
    node = max(statements, key=lambda n: n.end_lineno)
    inner = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and hasattr(n, "body")]
    if inner and not (isinstance(node, ast.If) and inner == [node]):
        return set(range(line, node.body[0].lineno))
    return set(range(line, node.end_lineno + 1))


def total(places: list[Place]) -> int:
    """Lines of code of all places together, each line once."""
    return len({(place.file, line) for place in places for line in place.lines})
