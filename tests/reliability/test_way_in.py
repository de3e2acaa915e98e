"""A Python that cannot run the project is told what to type, whichever program it is given."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys

import pytest
from support.programs import ROOT

PROGRAMS = (
    "raw_pytorch train", "raw_pytorch.basic", "raw_pytorch.minimal", "lightning predict",
    "lightning.basic", "lightning.minimal", "shared.compare --dataset mnist", "shared.bench",
    "shared.mistakes", "shared.docs",
)  # fmt: skip


@pytest.mark.fault("a Python that lacks the packages", kind="the way in")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_without_the_packages_is_told_what_to_type(program, one_line, fault):
    command = [sys.executable, "-S", "-m", *program.split()]  # without the folder of packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    one_line(done.stderr, f"; type make setup, and then .venv/bin/python -m {program}")
    fault.sees(done.stderr)


@pytest.mark.fault("a Python that is too old", kind="the way in")
def test_an_old_python_can_read_that_it_is_too_old(monkeypatch, fault):
    path = ROOT / "shared/__init__.py"
    ast.parse(path.read_text(), feature_version=(3, 5))
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit, match=r"is Python 3\.9, and 3\.10 or newer") as left:
        runpy.run_path(str(path))
    fault.sees(str(left.value).replace(sys.executable, "python"))
