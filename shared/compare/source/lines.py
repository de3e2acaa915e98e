"""Lines of code of both sides, counted by Python's tokenizer: a line counts if it holds a token
that is neither a comment nor part of a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.processes import ROOT

RAW, LIGHTNING = ROOT / "raw_pytorch", ROOT / "lightning"
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


def count(path: Path) -> int:
    return len(code_lines(path.read_text()))


@cache
def code_lines(source: str) -> frozenset[int]:
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
    return frozenset(code - docstrings)


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


@dataclass(frozen=True)
class SourceFile:
    """A file that both sides have, or one of them.

    Attributes:
        raw, lightning: lines of code; None on a side that has no such file.
        instead: what takes the place of a file of one side on the other, as its first lines say.
    """

    name: str
    raw: int | None
    lightning: int | None
    instead: str = ""


def files() -> list[SourceFile]:
    """The files in the order in which one reads them: those of both sides first."""
    sides = [{path.name: path for path in side.glob("*.py")} for side in (RAW, LIGHTNING)]
    found = []
    for name in sorted({*sides[0], *sides[1]} - {"__init__.py"}):
        raw, lightning = (side.get(name) for side in sides)
        if raw and lightning:
            found.append(SourceFile(name, count(raw), count(lightning)))
        elif raw:
            found.append(SourceFile(name, count(raw), None, _said(raw, "Lightning: ")))
        elif lightning:
            found.append(SourceFile(name, None, count(lightning), _said(lightning, "By hand, ")))
    order = "minimal.py basic.py __main__.py module.py data.py train.py test.py predict.py".split()
    return sorted(
        found,
        key=lambda file: (
            file.lightning is None,
            file.raw is None,
            order.index(file.name) if file.name in order else len(order),
        ),
    )


def _said(path: Path, mark: str) -> str:
    """What the opening lines of a file say behind a mark, to the end of the paragraph."""
    head = path.read_text().split('"""')[1]
    return " ".join(head.split(mark, 1)[1].split("\n\n")[0].split())


# What no total counts: programs of their own, the command, which is the same on both sides, and
# what only reads and writes the other side's checkpoints.
APART = {"minimal.py", "basic.py", "__main__.py", "lightning_format.py"}


def file_totals() -> tuple[int, int]:
    """Lines of code of both sides."""
    counted = [file for file in files() if file.name not in APART]
    return sum(file.raw or 0 for file in counted), sum(file.lightning or 0 for file in counted)
