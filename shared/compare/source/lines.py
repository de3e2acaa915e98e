"""Lines of code of both sides, counted by Python's tokenizer: a line counts if it holds a token
that is neither a comment nor part of a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

from shared.processes import ROOT

RAW, LIGHTNING = ROOT / "raw_pytorch", ROOT / "lightning"
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


def count(path: Path) -> int:
    return len(code_lines(path.read_text()))


def code_lines(source: str) -> set[int]:
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(node):
            docstrings.update(_lines(node.body[0]))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    return code - docstrings


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def replacement(path: Path) -> str:
    """What takes the place of a file that only the raw side has, from its opening lines."""
    head = path.read_text().split('"""')[1]
    return " ".join(head.split("Lightning: ", 1)[1].split())


@dataclass(frozen=True)
class SourceFile:
    """A file of the raw side, and the one of the same name on the Lightning side.

    Attributes:
        raw, lightning: lines of code; None where the Lightning side has no such file.
        instead: the expression that replaces it there.
    """

    name: str
    raw: int
    lightning: int | None
    instead: str


def files() -> list[SourceFile]:
    """The files in the order in which one reads them: mirrored ones first."""
    found = []
    for path in sorted(RAW.glob("*.py")):
        if path.name == "__init__.py":
            continue
        other = LIGHTNING / path.name
        if other.exists():
            found.append(SourceFile(path.name, count(path), count(other), ""))
        else:
            found.append(SourceFile(path.name, count(path), None, replacement(path)))
    order = "minimal.py __main__.py module.py data.py train.py test.py predict.py".split()
    return sorted(
        found,
        key=lambda f: (f.lightning is None, order.index(f.name) if f.name in order else 0, f.name),
    )


# What no total counts: a program of its own, and the command, which is the same on both sides.
APART = {"minimal.py", "__main__.py"}


def file_totals() -> tuple[int, int]:
    """Lines of code of both sides."""
    counted = [file for file in files() if file.name not in APART]
    return sum(file.raw for file in counted), sum(file.lightning or 0 for file in counted)
