"""Run a program as `python` would, while a recorder looks on.

python launch.py RECORD STEPS -- -m package.module [arguments]
python launch.py RECORD STEPS -- script.py [arguments]
python launch.py RECORD STEPS -- notebook.ipynb [arguments]
python launch.py RECORD STEPS -- package.module:function [arguments]
python launch.py RECORD STEPS STEP SIZE -- ...       with its weights moved from STEP on
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import json
import linecache
import os
import re
import runpy
import sys
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import TracebackType
from typing import Any

PRIVATE = "_divergence"
CELL = "[cell {}]"  # what follows the name of a notebook
STARTED_BY = (__file__, runpy.__file__, str(Path(importlib.__file__).parent), "<frozen ")


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
        main_module = types.ModuleType("__main__")
        main_module.__file__ = os.path.abspath(first)
        sys.modules["__main__"] = main_module
        if first.endswith(".ipynb"):
            run_notebook(Path(first), main_module)
        else:
            run_script(main_module)


def run_script(module: types.ModuleType) -> None:
    """Run a file as `python` does: its absolute path is `__file__`, and `sys.argv[0]` stays as it
    was typed, neither of which is so with runpy."""
    module.__loader__ = SourceFileLoader("__main__", str(module.__file__))
    module.__loader__.exec_module(module)


def run_notebook(path: Path, module: types.ModuleType) -> None:
    """Run the code cells in order, with what IPython gives them besides Python."""
    vars(module)["display"] = print
    for number, source in enumerate(cells(path), 1):
        name = f"{path.resolve()}{CELL.format(number)}"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        Cell(name, source).exec_module(module)


def cells(path: Path) -> list[str]:
    """The code cells of a notebook."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [python_of("".join(c["source"])) for c in found if c["cell_type"] == "code"]


def python_of(source: str) -> str:
    """A cell without what is written for IPython alone (%, !, ?), where it is no Python as it is.
    As many lines as before."""
    try:
        ast.parse(source)
        return source
    except SyntaxError:
        pass
    lines = source.splitlines() or [""]
    first = lines[0].split()
    if first and first[0].startswith("%%") and first[0] not in ("%%time", "%%capture"):
        return ""  # %%bash, %%html, %%writefile: the rest is no Python
    kept = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        if timed := re.match(r"\s*%time\s+(.+)", line):
            line = indent + timed[1]
        elif line.lstrip().startswith(("%", "!", "?")) or line.rstrip().endswith("?"):
            line = f"{indent}pass"
        kept.append(line)
    return "\n".join(kept) + "\n"


class Cell(importlib.abc.ExecutionLoader):
    """One cell, run in the module that all cells share."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def get_filename(self, fullname: str) -> str:
        return self.name

    def get_source(self, fullname: str) -> str:
        return self.source


def main() -> None:
    end = sys.argv.index("--")
    (path, steps, *moved), arguments = sys.argv[1:end], sys.argv[end + 1 :]
    nudge = (int(moved[0]), float(moved[1])) if moved else None
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    load("following").follow_parent()  # which is torchrun, if that started it
    recorder = load("recording.recorder")
    # Of several processes, the first one speaks for all.
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0":
        path = os.devnull
    recording = recorder.Recorder(path, int(steps), nudge)
    try:
        with recording:
            run_program(arguments)
    except recorder.Enough:
        # At once: what a program does on its way out (saving, waiting for others) may take long.
        sys.stdout.flush()
        os._exit(0)
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = of_the_program(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None


def of_the_program(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames by which the program was started."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(STARTED_BY):
        trace = trace.tb_next
    return trace


if __name__ == "__main__":
    main()
