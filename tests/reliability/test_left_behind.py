"""Whatever ends a program, all that it has started ends with it, and its temporary files go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import ROOT, Outcome, is_gone, wait_for

from shared.forks.client import Fork, open_forks


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.mark.fault("the divergence tool is stopped while a program runs", kind="left behind")
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_divergence_tool_that_is_stopped_leaves_no_program_and_no_folder(
    number: signal.Signals,
    command: Callable[..., Outcome],
    temporary: Path,
    fault: Any,
) -> None:
    Path("program.py").write_text(
        "import os, time\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        f"os.kill(os.getppid(), {number:d})\n"
        "time.sleep(60)\n"
    )
    done = command("shared.divergence", "program.py", "program.py")
    assert (done.status, done.err) == (130, "error: interrupted\n")
    assert is_gone(int(Path("pid").read_text()))
    assert os.listdir(temporary) == []
    fault.sees(done.err)


@pytest.mark.fault("the mistakes or a puzzle are stopped while a program runs", kind="left behind")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_mistakes_that_are_stopped_leave_no_program_and_no_folder(
    number: signal.Signals,
    command: Callable[..., Outcome],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
) -> None:
    def train(mistake: object, folder: Path, start: Callable) -> None:
        Path("program.py").write_text("import time; time.sleep(60)")
        with open("log", "w") as log:
            started = start([sys.executable, "program.py"], Path.cwd(), os.environ, log)
        Path("pid").write_text(str(started.pid))
        os.kill(os.getpid(), number)
        started.wait(30)

    monkeypatch.setattr("shared.mistakes.gallery.right_run", train)
    monkeypatch.setattr("shared.mistakes.__main__.open_forks", lambda: open_forks(()))
    done = command("shared.mistakes", "--only", "zero_grad() forgotten")
    assert (done.status, done.err) == (130, f"error: interrupted by {number.name}\n")
    assert is_gone(int(Path("pid").read_text()))
    assert os.listdir(temporary) == []
    fault.sees(done.err)


@pytest.mark.fault("the mistakes or a puzzle are stopped while a program runs", kind="left behind")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_puzzle_that_is_stopped_leaves_no_program_and_nothing_but_the_copy(
    number: signal.Signals,
    command: Callable[..., Outcome],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
) -> None:
    def watched(started: Fork, folder: Path, end: float) -> str:
        Path("pid").write_text(str(started.pid))
        os.kill(os.getpid(), number)
        started.wait(30)
        return ""

    monkeypatch.setattr("shared.puzzles.trying._watched", watched)
    monkeypatch.setattr("shared.puzzles.__main__.open_forks", lambda: open_forks(()))
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        done = command("shared.puzzles", "1")
    asked = number == signal.SIGINT  # Ctrl+C is one way to leave
    assert done.status == (0 if asked else 130)
    assert done.err == ("" if asked else f"error: interrupted by {number.name}\n")
    wait_for(lambda: is_gone(int(Path("pid").read_text())))
    assert os.listdir(temporary) == []
    assert os.listdir("runs/puzzles") == ["puzzle_01.py"]
    fault.sees(done.err)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="what Linux alone does")
@pytest.mark.fault("the divergence tool is killed while a program runs", kind="left behind")
def test_killing_the_divergence_tool_ends_the_program_that_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    program = "import os, signal, time\nopen('pid', 'w').write(str(os.getpid()))\n"
    (tmp_path / "program.py").write_text(
        f"{program}os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)\n"
    )
    tool = [sys.executable, "-m", "shared.divergence", "program.py", "program.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(tool, env=environment, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: is_gone(int(Path("pid").read_text())))
    fault.sees("nothing; the program is ended with it")


@pytest.mark.fault("the first of several processes is killed", kind="left behind")
def test_a_process_ends_by_itself_when_the_one_that_started_it_is_killed(fault: Any) -> None:
    child = "import time; from shared.signals import *; leave_with_launcher(); time.sleep(60)"
    parent = (
        "import os, subprocess, sys, time\n"
        "place = dict(LAUNCHER_PID=str(os.getpid()), LOCAL_RANK='1')\n"
        f"command = [sys.executable, '-c', {child!r}]\n"
        "print(subprocess.Popen(command, env={**os.environ, **place}).pid, flush=True)\n"
        "time.sleep(2); os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", parent], env=environment, stdout=subprocess.PIPE)
    wait_for(lambda: is_gone(int(done.stdout)))
    fault.sees("nothing; the others end by themselves")


@pytest.fixture
def two(side: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of two processes that has written its first checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", side, "train", "--devices", "2", "--accelerator", "cpu",
         "--batch_size", "50", "--max_epochs", "1000", "--run_dir", "run"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MARK": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(Path("run/checkpoints/last.ckpt").exists, 200)
    yield process
    for pid in started(tmp_path):
        os.kill(pid, signal.SIGKILL)


def started(mark: Path) -> list[int]:
    """All processes that have this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = f"MARK={mark}\0" in (folder / "environ").read_text()
        except (OSError, ValueError):
            continue
        if is_marked and not is_gone(int(folder.name)):
            found.append(int(folder.name))
    return found


@pytest.mark.long
@pytest.mark.fault("the first of several processes is killed", kind="left behind")
def test_when_the_first_of_two_processes_is_killed_none_is_left(side, two, tmp_path) -> None:
    assert len(started(tmp_path)) >= 2
    two.kill()
    wait_for(lambda: started(tmp_path) == [], 60)


@pytest.mark.long
@pytest.mark.fault("the terminal of several processes is closed", kind="left behind")
def test_when_the_terminal_of_two_processes_is_closed_they_save_and_end(
    side, two, tmp_path, fault
) -> None:
    os.killpg(two.pid, signal.SIGHUP)
    out, err = two.communicate(timeout=100)
    assert (two.returncode, out) == (130, "")
    assert err.startswith("error: interrupted by SIGHUP; to resume: ")
    assert err.count("\n") == 1
    wait_for(lambda: started(tmp_path) == [], 60)
    fault.sees(err)


class Interrupted:
    """A module from which nothing can be imported before Ctrl+C is pressed."""

    def __getattr__(self, name: str) -> None:
        raise KeyboardInterrupt


@pytest.mark.fault("Ctrl+C while an instrument still loads its libraries", kind="left behind")
@pytest.mark.parametrize("module", ["mistakes.gallery", "bench.measuring"])
def test_an_instrument_that_is_stopped_while_it_loads_says_one_line(
    module: str,
    command: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    one_line: Callable,
    fault: Any,
) -> None:
    monkeypatch.setitem(sys.modules, f"shared.{module}", Interrupted())
    done = command(f"shared.{module.split('.')[0]}")
    assert (done.status, done.out) == (130, "")
    one_line(done.err, "interrupted")
    fault.sees(done.err)
