"""The divergence tool beside a project that is not this one: how programs are named, and what they
see of being looked at."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from support.divergence.watching import recorded
from torch.nn.modules import module as hooks_of

from shared.divergence import launch
from shared.divergence.command import WrongUse, parse_command
from shared.divergence.report import line_of

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "shared/divergence"
TRAINING = """\
import torch
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(4, 3)).mean().backward()
optimizer.step()
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Runs a program as the launcher does, and returns its module."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def start(*arguments: str):
        launch.run_program(list(arguments))
        return sys.modules["__main__"]

    return start


# What a program sees


def test_a_script_is_started_as_python_starts_one(started, tmp_path, monkeypatch):
    text = "'What it is for.'\nimport sys\n"
    text += "argv, first, name, file = sys.argv, sys.path[0], __name__, __file__\n"
    (tmp_path / "train.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    module = started("train.py", "--lr", "3")
    assert module.argv == ["train.py", "--lr", "3"]
    assert (module.name, module.file) == ("__main__", str(tmp_path / "train.py"))
    assert module.first == str(tmp_path)
    assert (module.__doc__, module.__spec__) == ("What it is for.", None)


def notebook(path: Path, *cells: str) -> str:
    kinds = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["#"]}, *kinds]}))
    return str(path)


def test_the_code_cells_of_a_notebook_are_run_without_what_is_for_ipython_alone(started, tmp_path):
    path = notebook(
        tmp_path / "a b.ipynb",
        "%matplotlib inline\n!pip list\nseen = []\nseen?",
        "%%bash\necho no Python here",
        "%%time\nfor i in range(2):\n    %time seen.append(i)\n    !ls",
        "rest = (7\n% 4)\ndisplay(rest)",
    )
    module = started(path)
    assert (module.seen, module.rest) == ([0, 1], 3)


def test_a_line_of_a_cell_is_shown(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "one = 1", "%time two = 2\nthree = 3")
    shown = [line_of(f"{path}[cell {cell}]", line) for cell, line in ((1, 1), (2, 1), (2, 2))]
    assert shown == ["one = 1", "two = 2", "three = 3"]
    assert line_of(f"{path}[cell 9]", 1) == ""


def test_a_traceback_begins_with_the_program_s_own_line(started, tmp_path):
    (tmp_path / "train.py").write_text("def train():\n    raise ValueError('no data')\n\ntrain()\n")
    with pytest.raises(ValueError, match="no data") as raised:
        started(str(tmp_path / "train.py"))
    trace = raised.value.__traceback__
    assert trace is not None
    shown = traceback.extract_tb(launch.of_the_program(trace.tb_next.tb_next))
    assert [(Path(f.filename).name, f.lineno) for f in shown] == [("train.py", 4), ("train.py", 2)]


# How it is named


def test_a_path_may_have_spaces_or_begin_at_home_and_a_script_may_be_called_anything(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("my train.py", "train"):
        (tmp_path / name).write_text("")
    for text in ("my train.py", "'my train.py'", "python 'my train.py'"):
        assert parse_command("A", text).program == ["my train.py"]
    assert parse_command("A", "python '~/my train.py'").program == [f"{tmp_path}/my train.py"]
    assert parse_command("A", "python train --lr 3") == (["python"], ["train", "--lr", "3"], ())


def test_variables_may_stand_before_a_program(tmp_path):
    (tmp_path / "a.py").write_text("")
    command = parse_command("A", f"SEED=3 NAME='x y=z' python {tmp_path}/a.py --note K=1")
    assert command.environment == (("SEED", "3"), ("NAME", "x y=z"))
    assert command.program == [f"{tmp_path}/a.py", "--note", "K=1"]


@pytest.mark.parametrize("text", ["python a.py > log", "cd b && python a.py", "python a.py | tee"])
def test_what_is_for_a_shell_is_refused_and_named(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("")
    with pytest.raises(WrongUse, match=r"^A: (>|&&|\|) is for a shell"):
        parse_command("A", text)
    assert parse_command("A", "python a.py --sep '|'").program == ["a.py", "--sep", "|"]


# Older versions of torch, of which the documents say which were tried


@pytest.mark.parametrize("is_older", [False, True])
def test_what_a_hook_is_given_by_older_versions_of_torch_is_on_record_too(
    is_older, tmp_path, monkeypatch
):
    register = hooks_of.register_module_forward_hook
    if is_older:
        monkeypatch.setattr(
            hooks_of,
            "register_module_forward_hook",
            lambda hook, *, always_call=False: register(hook, always_call=always_call),
        )

    def program() -> None:
        class Scaled(torch.nn.Linear):
            def forward(self, values, by=1.0):
                if not len(values):
                    raise ValueError("nothing to scale")
                return super().forward(values * by)

        model = Scaled(3, 1)
        with contextlib.suppress(ValueError):
            model(values=torch.ones(0, 3))
        model(values=torch.ones(4, 3), by=torch.ones(3)).sum().backward()

    run = recorded(program, tmp_path / "a")
    assert run.end is not None and not run.end["faults"]
    (call,) = run.steps[0].backwards[0].get("forwards")
    assert [given["shape"] for given in call["inputs"]] == [[4, 3], [3]]
    assert not run.evaluations


# Windows, which is not at hand


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch):
    """The tool loaded anew where what Windows lacks is not there."""
    for module, names in (
        (os, ("killpg", "fork", "setsid")),
        (signal, ("SIGKILL", "SIGHUP")),
    ):
        for name in names:
            monkeypatch.delattr(module, name)
    for missing in ("fcntl", "resource", "pwd", "termios"):
        monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(launch, "PRIVATE", "_on_windows")
    yield launch.load
    for name in [name for name in sys.modules if name.split(".")[0] == "_on_windows"]:
        del sys.modules[name]


def test_a_program_is_started_recorded_compared_and_ended_with_what_windows_has(
    on_windows, tmp_path, monkeypatch
):
    command, recorder = on_windows("command"), on_windows("recording.recorder")
    ended: list[list[str]] = []
    monkeypatch.setattr(command.subprocess, "run", lambda words, **_: ended.append(words))
    (tmp_path / "train.py").write_text(TRAINING)

    class Started:
        pid = 7

        def __init__(self, words, *, preexec_fn, **_) -> None:
            assert preexec_fn is None  # an argument that Windows refuses
            with recorder.Recorder(words[2], int(words[3])):
                runpy.run_path(words[-1], run_name="__main__")

        def wait(self, timeout=None) -> None:
            pass

    runs, ends = zip(
        *(
            command.record(
                command.parse_command(name, f"python {tmp_path / 'train.py'}"),
                tmp_path / f"{name}.jsonl",
                steps=20,
                timeout=60,
                start=Started,
            )
            for name in "AB"
        ),
        strict=True,
    )
    lines, status = on_windows("report").report(*runs, ends)
    assert (status, ends) == (0, ("finished", "finished"))
    assert lines[0].startswith("Equal to the bit in 1 optimizer step")
    assert ended == [["taskkill", "/F", "/T", "/PID", "7"]] * 2


# A whole answer


@pytest.mark.long
def test_a_stranger_s_folder_has_its_own_names_and_nothing_is_left_in_it(tmp_path):
    project = tmp_path / "my project"
    names = ("lightning", "shared", "recording", "records", "report", "command", "launch", "calls")
    for name in names:
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("whose = 'theirs'\n")
    imports = [f"import {n}\nassert {n}.whose == 'theirs', {n}\n" for n in names]
    (project / "train.py").write_text("".join(imports) + TRAINING)
    (project / "port.py").write_text("".join(imports) + TRAINING.replace("0.1", "0.2"))
    before = sorted(project.rglob("*"))
    outcome = subprocess.run(
        [sys.executable, TOOL, "../train.py", f"python '{project}/port.py'"],
        cwd=project / "shared",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr) == (1, "")
    assert "lr is 0.1 in A, 0.2 in B" in outcome.stdout
    assert sorted(project.rglob("*")) == before
