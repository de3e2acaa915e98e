"""Imports run downwards: no module comes back to itself, and nothing is loaded too early."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support.programs import ROOT

from shared.checkpoint_format import LIGHTNING_VERSION

PACKAGES = ("shared", "raw_pytorch", "lightning")


def modules() -> dict[str, Path]:
    """The files of all three packages by the names of their modules."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> set[str]:
    """What a file imports at any time, within functions too; not what is for a type checker."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))
    return names


def test_no_import_runs_in_a_circle() -> None:
    known = modules()
    graph = {name: imported(path) & known.keys() for name, path in known.items()}
    assert sum(map(len, graph.values())) > 100
    order = list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names the circle
    assert order.index("shared.errors") < order.index("shared.config") < order.index("shared.cli")


@pytest.mark.parametrize("name", ["cli", "signals", "files", "summary"])
def test_what_a_program_needs_before_its_flags_are_read_loads_no_torch(name: str) -> None:
    code = f"import sys, shared.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_format_of_checkpoints_is_that_of_the_installed_lightning() -> None:
    assert version("pytorch-lightning") == LIGHTNING_VERSION
