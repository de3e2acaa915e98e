"""A warm Python: what is slow to import is loaded once, and each program runs in a fork of it.

python -c "the text of this file" MODULE...     imports the modules, then is told by the socket on
                                                its stdin what to run; `client.py` tells it

A program is run as `python` runs it, with its own arguments, folder, environment and output. It
imports its own modules anew: nothing but installed packages is loaded before.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from types import ModuleType
from typing import Any

# What a program may ask for in `sys.modules` to learn whether it uses it: shown once imported.
HIDDEN = ("pytorch_lightning",)
SECONDS_BETWEEN_LOOKS = 0.01


class Late(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hides modules that are loaded already, until the program imports one of them."""

    def __init__(self) -> None:
        self.modules = {
            name: module for name, module in sys.modules.items() if name.split(".")[0] in HIDDEN
        }
        for name in self.modules:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.modules:
            return None
        known = self.modules[name].__spec__
        assert known is not None
        return importlib.util.spec_from_file_location(
            name, known.origin, loader=self,
            submodule_search_locations=known.submodule_search_locations,
        )  # fmt: skip

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        sys.modules.update(self.modules)
        self.spec = self.modules[spec.name].__spec__
        return self.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def main() -> None:
    folder = sys.path.pop(0)  # whose modules are the program's own
    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # the program will say so itself, if it needs it
            importlib.import_module(name)
    sys.path.insert(0, folder)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    asked = socket.socket(fileno=os.dup(0))
    while True:
        data, files, _, _ = socket.recv_fds(asked, 1 << 16, 3)
        if not data:
            return
        while not data.endswith(b"\n"):
            data += asked.recv(1 << 16)
        if os.fork() == 0:
            asked.close()
            keep(json.loads(data), files)
        for file in files:
            os.close(file)


def keep(request: dict[str, Any], files: list[int]) -> None:
    """Fork once more for the program, tell its process id and then its status, and end it where
    nobody listens any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answers = socket.socket(fileno=files[2])
    process = os.fork()
    if process == 0:
        answers.close()
        run(request, files[:2])
    with contextlib.suppress(OSError):  # it may have done so itself
        os.setpgid(process, process)  # before anybody hears its number, and ends its group
    with contextlib.suppress(OSError):
        answers.sendall(f"{process}\n".encode())
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                answers.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os._exit(0)
            if select.select([answers], [], [], SECONDS_BETWEEN_LOOKS)[0]:
                break
    with contextlib.suppress(OSError):
        os.killpg(process, signal.SIGKILL)
    os._exit(0)


def run(request: dict[str, Any], files: list[int]) -> None:
    """Become the program, and never return."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    # A Python that starts draws these anew; forks of one would all begin alike.
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    Late()
    status = 0
    try:
        run_program(request["arguments"])
    except SystemExit as leaving:
        status = status_of(leaving)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does at its end
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run_program(arguments: list[str]) -> None:
    """Run a script or, after -m, a module, with its arguments."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if arguments[0] == "-m":
        sys.path[:1] = [os.getcwd(), *paths]
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[:1] = [os.path.dirname(os.path.realpath(arguments[0])), *paths]
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def status_of(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
