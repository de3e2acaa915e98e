"""The instruments learn how a program ended, and leave none behind; and one that runs in a fork of
a warm Python runs as `python` would run it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import is_gone, wait_for

from shared import processes
from shared.forks.client import Fork, Forks, open_forks
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

    wait_for(lambda: is_gone(child), 30)


@pytest.mark.parametrize(
    ("text", "line"), [("a\nb\n", "b"), ("a\n \n\n", "a"), ("", ""), ("x" * 300, "x" * 200)]
)
def test_the_last_line_is_the_last_that_says_something(text, line):
    assert last_line(text) == line


# In forks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with open_forks(("decimal",)) as started:
        yield started


def finished(forks: Forks, *words: str, **environment: str) -> tuple[int, str]:
    """The status of a program, and what it wrote."""
    with open("written.txt", "w") as output:
        started = forks.start(
            [sys.executable, *words], Path.cwd(), output, {**os.environ, **environment}
        )
        status = started.wait(60)
    return status, Path("written.txt").read_text()


SHOWN = """\
import os, sys, other
print(__name__, sys.argv, os.getcwd(), other.__file__, os.environ.get("GIVEN"), sys.stdin.read())
print("to stderr", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("words", [("program.py", "a", "b"), ("-m", "program", "a", "b")])
def test_a_program_has_its_arguments_folder_modules_environment_and_output(forks, words):
    Path("program.py").write_text(SHOWN)
    Path("other.py").write_text("")
    python = subprocess.run(
        [sys.executable, *words], env={**os.environ, "GIVEN": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    status, written = finished(forks, *words, GIVEN="1")
    assert (status, sorted(written.splitlines())) == (3, sorted(python.stdout.splitlines()))
    assert "__main__" in written and "to stderr" in written


@pytest.mark.parametrize(
    ("code", "status", "last"),
    [
        ("raise ValueError('no')", 1, "ValueError: no"),
        ("import sys; sys.exit('a word')", 1, "a word"),
        ("import atexit; atexit.register(print, 'at its end')", 0, "at its end"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_a_program_ends_with_its_status_and_its_last_words(forks, code, status, last):
    Path("program.py").write_text(code)
    ended, written = finished(forks, "program.py")
    assert (ended, (written.splitlines() or [""])[-1]) == (status, last)


def test_a_traceback_shows_lines_of_the_program_alone(forks):
    Path("program.py").write_text("def fail():\n    raise ValueError\nfail()\n")
    _, written = finished(forks, "program.py")
    files = [line.split('"')[1] for line in written.splitlines() if 'File "' in line]
    assert {Path(file).name for file in files} == {"program.py", "<string>", "<frozen runpy>"}
    assert not any(str(ROOT / "shared") in file for file in files)


def test_programs_do_not_see_what_an_earlier_one_has_done(forks):
    Path("program.py").write_text(
        "import decimal, random, sys\n"
        "print(getattr(decimal, 'spoiled', 'clean'), random.random())\n"
        "decimal.spoiled = 'spoiled'\n"
    )
    first, second = (finished(forks, "program.py")[1].split() for _ in range(2))
    assert first[0] == second[0] == "clean"
    assert first[1] != second[1], "both drew from one state of the generator"


def test_what_is_loaded_ahead_is_not_there_until_it_is_imported():
    Path("pytorch_lightning").mkdir()
    Path("pytorch_lightning/__init__.py").write_text("from pytorch_lightning.inner import number\n")
    Path("pytorch_lightning/inner.py").write_text("number = 7\nprint('loaded')\n")
    Path("program.py").write_text(
        "import importlib.util, os, sys\n"
        "print('pytorch_lightning' in sys.modules)\n"
        "print(os.path.relpath(importlib.util.find_spec('pytorch_lightning').origin))\n"
        "from pytorch_lightning import inner, number\n"
        "print('pytorch_lightning.inner' in sys.modules, number, inner.__spec__.name)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path.cwd()))
        with open_forks(("pytorch_lightning",)) as forks:
            written = finished(forks, "program.py")[1]
    assert written.splitlines() == [
        "False",
        "pytorch_lightning/__init__.py",
        "True 7 pytorch_lightning.inner",
    ]


def test_a_program_that_runs_on_can_be_ended(forks):
    Path("program.py").write_text("import time; time.sleep(60)")
    with open("written.txt", "w") as output:
        started: Fork = forks.start([sys.executable, "program.py"], Path.cwd(), output)
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.3)
        os.killpg(started.pid, signal.SIGKILL)
        assert started.wait(60) == -signal.SIGKILL


def test_the_end_of_whoever_asked_ends_what_runs():
    Path("program.py").write_text("import time; time.sleep(60)")
    with open("written.txt", "w") as output, open_forks(()) as forks:
        started = forks.start([sys.executable, "program.py"], Path.cwd(), output)
        started.answers.close()
        wait_for(lambda: is_gone(started.pid), 30)
