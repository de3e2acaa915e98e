"""Run a program as `python` would, while a recorder looks on.

python launch.py RECORD STEPS -- -m package.module [arguments]
python launch.py RECORD STEPS -- script.py [arguments]
python launch.py RECORD STEPS -- notebook.ipynb [arguments]
python launch.py RECORD STEPS -- package.module:function [arguments]
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import linecache
import os
import runpy
import sys
import traceback
import types
from pathlib import Path
from typing import Any

PRIVATE = "_divergence"


def load(name: str) -> Any:
    """A module of this package, under a name that no package of the program has."""
    here = Path(__file__).resolve().parent
    if PRIVATE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PRIVATE, here / "__init__.py", submodule_search_locations=[str(here)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[PRIVATE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PRIVATE])
    return importlib.import_module(f"{PRIVATE}.{name}")


def run_program(arguments: list[str]) -> None:
    first = arguments[0]
    if first == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif ":" in first and not first.endswith((".py", ".ipynb")):
        sys.path.insert(0, os.getcwd())
        sys.argv = arguments
        module, function = first.split(":", 1)
        getattr(importlib.import_module(module), function)()
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = arguments
        if first.endswith(".ipynb"):
            run_notebook(Path(first))
        else:
            runpy.run_path(first, run_name="__main__")


def run_notebook(path: Path) -> None:
    """Run the code cells in order; what is written for IPython alone (%, !) is left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    for number, cell in enumerate(c for c in cells if c["cell_type"] == "code"):
        source = "".join(cell["source"])
        lines = [
            "pass" if line.startswith(("%", "!", "?")) else line for line in source.splitlines()
        ]
        source = "\n".join(lines) + "\n"
        name = f"{path.resolve()}[cell {number + 1}]"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        Cell(name, source).exec_module(module)


class Cell(importlib.abc.ExecutionLoader):
    """One cell, run in the module that all cells share."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def get_filename(self, fullname: str) -> str:
        return self.name

    def get_source(self, fullname: str) -> str:
        return self.source


def main() -> None:
    path, steps, _, *arguments = sys.argv[1:]
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    recorder = load("recording.recorder")
    # Of several processes, the first one speaks for all.
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0":
        path = os.devnull
    recording = recorder.Recorder(path, int(steps))
    try:
        with recording:
            run_program(arguments)
    except recorder.Enough:
        # At once: what a program does on its way out (saving, waiting for others) may take long.
        sys.stdout.flush()
        os._exit(0)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
