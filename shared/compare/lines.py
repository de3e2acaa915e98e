"""Lines of code of both sides, counted by Python's tokenizer: a line counts if it holds a token
that is neither a comment nor part of a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAW, LIGHTNING = ROOT / "raw_pytorch", ROOT / "lightning"
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


def count(path: Path) -> int:
    source = path.read_text()
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
    return len(code - docstrings)


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
    order = ["minimal.py", "module.py", "data.py", "train.py", "test.py", "predict.py"]
    return sorted(
        rows, key=lambda r: (r[2] is None, order.index(r[0]) if r[0] in order else 0, r[0])
    )
