"""Run a program as `python` would, while a recorder looks on.

python launch.py RECORD STEPS -- -m package.module [arguments]
python launch.py RECORD STEPS -- script.py [arguments]
python launch.py RECORD STEPS -- package.module:function [arguments]
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any


def load_recorder() -> Any:
    """The recorder, and no trace of the package it comes from: the program under test may have one
    of the same name."""
    root = str(Path(__file__).resolve().parents[2])
    sys.path[0] = root  # which was the folder of this file
    try:
        return importlib.import_module("shared.divergence.recorder")
    finally:
        del sys.path[0]
        for name in [name for name in sys.modules if name.split(".")[0] == "shared"]:
            del sys.modules[name]


def run_program(arguments: list[str]) -> None:
    first = arguments[0]
    if first == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif ":" in first and not first.endswith(".py"):
        sys.path.insert(0, os.getcwd())
        sys.argv = arguments
        module, function = first.split(":", 1)
        getattr(importlib.import_module(module), function)()
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    path, steps, _, *arguments = sys.argv[1:]
    recorder = load_recorder()
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
