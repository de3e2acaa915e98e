"""A program that runs in a fork of a warm Python runs as `python` would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.forks.client import Fork, Forks, open_forks

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
        for _ in range(600):
            if not alive(started.pid):
                return
            subprocess.run(["sleep", "0.05"])
    raise AssertionError("it is still running")


def alive(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
