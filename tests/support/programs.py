"""Programs as the tests run them, and what they are held against: a status, and one line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.config import Config
from shared.errors import run as run_program

ROOT = Path(__file__).resolve().parents[2]


def short(**options: Any) -> Config:
    """One epoch of the digits on the CPU by a narrow network, unless told otherwise."""
    few = {"max_epochs": 1, "accelerator": "cpu", "progress_bar": False, "width": 4}
    return Config(**{**few, **options})


class Run(NamedTuple):
    folder: Path
    summary: dict[str, Any]


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """`command("raw_pytorch", "train", "--seed", "1")` runs a program's `main` in this process."""

    def run(program: str, *arguments: object) -> Outcome:
        module = importlib.import_module(program)
        is_package = hasattr(module, "__path__")
        main = (importlib.import_module(f"{program}.__main__") if is_package else module).main
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capsys.readouterr()
        try:
            run_program(main)
            status = 0
        except SystemExit as leaving:
            status = leaving.code
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def program() -> Callable[..., Outcome]:
    """`program("raw_pytorch", "train", "--help")` runs a program as a user does, as a process."""

    def run(name: str, *arguments: object, timeout: float = 120) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", name, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def one_line() -> Callable[..., None]:
    """`one_line(text, "part", ...)`: one `error:` line, without a traceback, with these parts."""

    def check(text: str, *parts: object) -> None:
        assert text.endswith("\n")
        lines = text.splitlines()
        assert len(lines) == 1, text
        assert lines[0].startswith("error: "), text
        assert len(lines[0]) <= 400, text
        for part in parts:
            assert str(part) in lines[0], text

    return check
