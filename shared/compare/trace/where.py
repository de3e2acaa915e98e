"""Lines of source: of this repository and of the installed packages, and the functions they belong
to."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache

from shared.compare.trace.events import Frame
from shared.compare.trace.operations import PACKAGES, package_folder
from shared.processes import ROOT

LONGEST = 16  # lines of a function that are shown as they are
AROUND = 5  # lines that are shown before and after the one that calls, where it is longer


@dataclass(frozen=True)
class Line:
    """A line of source: `file` as `package/path.py`."""

    file: str
    number: int

    @property
    def text(self) -> str:
        return source(self.file)[self.number - 1].strip()

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    @property
    def is_own(self) -> bool:
        """Whether it stands in this repository, and not in a package."""
        return self.file.split("/")[0] not in PACKAGES

    @property
    def function(self) -> str:
        """The function it belongs to, with its class: `LightningModule.backward`."""
        return _innermost(self)[0]

    def excerpt(self) -> list[tuple[int, str]]:
        """Lines of its function with their numbers, and no neighbour's: all of them where they are
        few, or else the first and those around it. Number 0 stands for what is left out."""
        _, first, body, last = _innermost(self)
        docstring = set(range(*_docstring(self)))
        lines = [n for n in range(first, last + 1) if n not in docstring]
        if len(lines) > LONGEST:
            near = [n for n in lines if abs(n - self.number) <= AROUND]
            lines = [*(n for n in lines if n < body and n < near[0]), *near]
        shown: list[tuple[int, str]] = []
        text = source(self.file)
        for n in lines:
            if shown and n != shown[-1][0] + 1:
                shown.append((0, ""))
            shown.append((n, text[n - 1]))
        if lines[-1] < last:
            shown.append((0, ""))
        indent = min((len(t) - len(t.lstrip()) for _, t in shown if t.strip()), default=0)
        return [(n, t[indent:]) for n, t in shown]


def way(frames: list[Frame]) -> tuple[Line, ...]:
    """Frames, innermost first, as lines, outermost first, each line once."""
    lines = {(file, number): Line(file, number) for file, number, _ in frames}
    return tuple(reversed(lines.values()))


@cache
def source(file: str) -> list[str]:
    """The lines of a file given as `package/path.py`: of this repository, or an installed one."""
    package, path = file.split("/", 1)
    folder = package_folder(package) if package in PACKAGES else ROOT / package
    return (folder / path).read_text().splitlines()


@cache
def functions(file: str) -> list[tuple[str, ast.FunctionDef]]:
    """The functions of a file with their names, those that hold others first."""
    found: list[tuple[str, ast.FunctionDef]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
                name = f"{prefix}{child.name}."
            if isinstance(child, ast.FunctionDef):
                found.append((name[:-1], child))
            visit(child, name)

    visit(ast.parse("\n".join(source(file))), "")
    return found


def _around(line: Line) -> tuple[str, ast.FunctionDef] | None:
    inside = [
        (name, node)
        for name, node in functions(line.file)
        if node.lineno <= line.number <= (node.end_lineno or node.lineno)
    ]
    return inside[-1] if inside else None


def _innermost(line: Line) -> tuple[str, int, int, int]:
    """The function around a line: its name, its first line, that of its body, and its last."""
    found = _around(line)
    if found is None:  # at the top of a file
        last = min(len(source(line.file)), line.number + AROUND)
        first = max(1, line.number - AROUND)
        return line.file.rsplit("/", 1)[1], first, first, last
    name, node = found
    return name, node.lineno, node.body[0].lineno, node.end_lineno or node.lineno


def _docstring(line: Line) -> tuple[int, int]:
    found = _around(line)
    if found is None or not ast.get_docstring(found[1]):
        return 0, 0
    first = found[1].body[0]
    return first.lineno, (first.end_lineno or first.lineno) + 1
