"""The house is laid out as the README says: imports run downwards and in no circle, and no folder
and no file has grown too large to be read."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("raw_pytorch", "lightning")
# What looks at both sides from outside, each using only those before it; the rest of `shared` is
# what both sides use.
INSTRUMENTS = (
    "shared.processes",
    "shared.forks",
    "shared.reporting",
    "shared.divergence",
    "shared.mistakes",
    "shared.compare.source",
    "shared.compare.trace",
    "shared.puzzles",
    "shared.bench",
    "shared.compare",
    "shared.docs",
)
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in (*SIDES, "shared")
    for path in (ROOT / package).rglob("*.py")
}
MOST_FILES = 15
# Where more are one look all the same: each file of the raw side is one thing that the other side
# has as an argument or a callback, and the files of `shared` are what both sides import.
MORE_FILES = {"raw_pytorch": 20, "shared": 18}


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of this repository that a module imports, wherever in its file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Only what runs from anywhere, under a name of its own, imports relatively.
            assert node.level == 0 or room(module) == "shared.divergence", module
            package = package_of(module, node.level) if node.level else ""
            origin = ".".join(part for part in (package, node.module) if part)
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            found.update(name if name in FILES else origin for name in inner)
    return frozenset(found & FILES.keys() - {module})


def package_of(module: str, level: int) -> str:
    """The package that a relative import with so many dots begins at."""
    parts = module.split(".")
    is_package = FILES[module].name == "__init__.py"
    return ".".join(parts[: len(parts) - level + is_package])


def circle(start: str) -> list[str]:
    """The way by imports from a module back to it; empty if there is none."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop()
        for name in imported(way[-1]):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def room(module: str) -> str:
    """The side or the instrument that a module belongs to, or shared."""
    rooms = [r for r in (*SIDES, *INSTRUMENTS) if f"{module}.".startswith(f"{r}.")]
    return max(rooms, key=len, default="shared")


def test_no_import_runs_in_a_circle():
    assert len(FILES) > 80
    assert sum(len(imported(module)) for module in FILES) > 200
    circles = [circle(module) for module in FILES]
    assert [" -> ".join(way) for way in circles if way] == []


def test_imports_run_downwards():
    """The sides use what they share, and neither uses the other. The instruments read both sides
    and run them, and import neither."""
    for module in FILES:
        allowed = {room(module), "shared"}
        if room(module) in INSTRUMENTS:
            allowed.update(INSTRUMENTS[: INSTRUMENTS.index(room(module))])
        for name in imported(module):
            assert room(name) in allowed, f"{module} imports {name}"


FOLDERS = sorted({path.parent for path in [*FILES.values(), *(ROOT / "tests").rglob("*.py")]})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_folder_holds_no_more_than_one_takes_in_at_a_look(folder):
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MORE_FILES.get(folder.name, MOST_FILES), files
