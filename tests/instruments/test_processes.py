"""The instruments learn how a program ended, and leave none behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shared import processes
from shared.processes import UNIT, last_line, run_module, start_group, stop_group
from shared.signals import caught


def test_a_finished_program_tells_what_it_wrote_and_how_much_memory_it_took(tmp_path):
    # What the system counts for a program begins with what this process has.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    (tmp_path / "program.py").write_text(
        "import sys, shared.processes\n"
        "big = b'x' * int(sys.argv[1])\n"
        "print('out', *sys.argv[2:]); print('one\\ntwo\\n', file=sys.stderr); sys.exit(3)\n"
    )
    size = own + 100_000_000
    done = run_module("program", [str(size), "a", "b"], folder=tmp_path)
    assert (done.status, done.out, done.err) == (3, "out a b\n", "one\ntwo\n\n")
    assert done.last_line == "two"
    assert size < done.memory < size + 100_000_000
    assert 0 < time.perf_counter() - done.started < 60


def test_a_program_that_a_signal_has_ended_has_its_number_as_status(tmp_path):
    (tmp_path / "program.py").write_text("import os; os.kill(os.getpid(), 9)")
    done = run_module("program", folder=tmp_path)
    assert (done.status, done.last_line) == (-9, "no message")


def test_an_interrupt_leaves_no_program_behind(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text("import time; time.sleep(60)")
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Watched)
    monkeypatch.setattr(os, "wait4", interrupt)
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt):
        run_module("program", folder=tmp_path)
    assert started[0].poll() is not None


@pytest.mark.fault("Ctrl+C or a signal to a command that trains both sides", kind="signals")
@pytest.mark.parametrize("number", caught())
def test_a_program_that_is_shown_gets_a_signal_once_and_the_time_that_it_takes(
    number, tmp_path, fault
):
    program = (
        "import os, signal, sys, time\n"
        f"signal.signal({number:d}, lambda *_: print('heard', flush=True))\n"
        f"os.kill(os.getppid(), {number:d}); time.sleep(0.3)\n"
        "print(os.getpgrp() == os.getpid()); sys.exit(130)\n"
    )
    (tmp_path / "program.py").write_text(program)
    before = signal.getsignal(number)
    done = run_module("program", folder=tmp_path, show=True)
    assert (done.status, done.out) == (130, "heard\nTrue\n")
    assert signal.getsignal(number) == before
    fault.sees("the line of the side that was being trained")


def test_a_group_is_ended_with_all_that_it_has_started(tmp_path):
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid)\n"
        "time.sleep(60)\n"
    )
    process = start_group([sys.executable, "-c", program], tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    stop_group(process)
    assert process.returncode == -9

    def is_gone() -> bool:
        state = Path(f"/proc/{child}/stat")
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"

    deadline = time.monotonic() + 30
    while not is_gone():
        assert time.monotonic() < deadline, "the child is still running"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "line"), [("a\nb\n", "b"), ("a\n \n\n", "a"), ("", ""), ("x" * 300, "x" * 200)]
)
def test_the_last_line_is_the_last_that_says_something(text, line):
    assert last_line(text) == line
