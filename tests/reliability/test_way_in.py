"""A Python that cannot run the project is told what to type, whichever program it is given."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

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


WAY_IN = runpy.run_path(str(ROOT / ".ci" / "way_in.py"))
OURS = ("raw_pytorch", "lightning", "shared")
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (*OURS, "tests")
    for path in (ROOT / folder).rglob("*.py" if folder != "tests" else "test_*.py")
)


def needs_a_package_of_ours(path: str) -> bool:
    """Whether a file imports, before it does anything, what Python would not find."""
    top = [
        node
        for statement in ast.parse((ROOT / path).read_text()).body
        if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        and not (isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test))
        for node in ast.walk(statement)
    ]
    names = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    names += [
        "." * node.level + (node.module or "") for node in top if isinstance(node, ast.ImportFrom)
    ]
    return any(name.startswith((".", *OURS)) for name in names)


def test_whatever_file_is_run_by_its_path_what_to_type_is_said_where_that_cannot_work(monkeypatch):
    monkeypatch.chdir(ROOT)
    makefile = (ROOT / "Makefile").read_text()
    answered = 0
    for path in FILES:
        line = WAY_IN["answer"]([path, "--lr", "3"], str(ROOT), "PYTHON")
        is_answered = path.startswith("tests/") or needs_a_package_of_ours(path)
        if path == "shared/divergence/__main__.py" or not is_answered:
            assert line == "", path
            continue
        answered += 1
        start = f"error: {path} does not run by its path; type "
        assert line.startswith(start) and line.count("\n") == 1, path
        typed = line.removeprefix(start).strip()
        if test := re.fullmatch(r"PYTHON -m pytest (\S+)", typed):
            assert test[1] == path
        elif puzzle := re.fullmatch(r"make puzzle N=(\d+)", typed):
            assert f"puzzle_{int(puzzle[1]):02}.py" in path
        elif typed != "make":
            program = re.fullmatch(r"PYTHON -m ([\w.]+)( train| test| predict)?", typed)
            assert program, typed
            place = ROOT / program[1].replace(".", "/")
            assert (place / "__main__.py").exists() or f" -m {program[1]}" in makefile, typed
    assert answered > 150


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("a.py -m b", "a.py"),
        ("-u -X dev -Wignore -W error a.py", "a.py"),
        ("-m raw_pytorch a.py", ""),
        ("-Bm raw_pytorch", ""),
        ("-c 1 a.py", ""),
        ("- a.py", ""),
        ("-uXdev -X dev a.py", "a.py"),
        ("", ""),
    ],
)
def test_the_file_that_a_command_line_runs_is_told_from_its_other_words(words, script):
    assert WAY_IN["script"](words.split()) == script


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the project with an environment of its own, which holds no packages."""
    folder = tmp_path_factory.mktemp("project")
    uv = folder / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\nexec {sys.executable} -m venv --without-pip "$5"\n')
    uv.chmod(0o755)
    subprocess.run(
        [ROOT / ".ci" / "venv", sys.executable, folder / ".venv"],
        env={"PATH": f"{uv.parent}:/usr/bin:/bin"}, check=True,
    )  # fmt: skip
    for name in OURS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "runs" / "puzzles").mkdir(parents=True)
    shutil.copy(ROOT / "shared/puzzles/finds/puzzle_07.py", folder / "runs/puzzles")
    return folder


BY_PATH = {
    "raw_pytorch/train.py": ".venv/bin/python -m raw_pytorch train",
    "lightning/predict.py": ".venv/bin/python -m lightning predict",
    "lightning": ".venv/bin/python -m lightning train",
    "raw_pytorch/basic.py": ".venv/bin/python -m raw_pytorch.basic",
    "shared/bench/plan.py": ".venv/bin/python -m shared.bench",
    "shared/bench/peers.py": ".venv/bin/python -m shared.bench.peers",
    "shared/divergence/command.py": ".venv/bin/python -m shared.divergence",
    "shared/cli.py": "make",
    "runs/puzzles/puzzle_07.py": "make puzzle N=7",
}


@pytest.mark.fault("a file that is run by its path", kind="the way in")
@pytest.mark.parametrize("path", BY_PATH)
def test_the_environment_of_the_project_says_what_to_type(
    set_up, path, one_line, fault, monkeypatch
):
    monkeypatch.delenv("PYTHONPATH", raising=False)  # with it, every module would be found
    python = set_up / ".venv" / "bin" / "python"
    for folder in (set_up, (set_up / path).parent):
        given = (set_up / path).relative_to(folder)
        done = subprocess.run(
            [python, given, "--lr", "3"], cwd=folder, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        place = "" if folder == set_up else f", in {set_up}"
        one_line(done.stderr)
        assert done.stderr.endswith(f"does not run by its path; type {BY_PATH[path]}{place}\n")
        fault.sees(done.stderr.replace(str(set_up), "/home/me/project"))


def test_the_environment_lets_all_else_run(set_up):
    python = set_up / ".venv" / "bin" / "python"
    (set_up / "mine.py").write_text("import shared; print(shared.__name__)")
    (set_up / "own").mkdir()
    own = "import sys; sys.path.append('.')\nimport shared; print(shared.__name__)"
    (set_up / "own" / "mine.py").write_text(own)
    for words, variables, out in (
        (["own/mine.py"], {}, "shared\n"),
        (["mine.py"], {}, "shared\n"),
        (["-c", "print(1)"], {}, "1\n"),
        (["raw_pytorch/early_stopping.py"], {}, ""),
        (["shared/data/__init__.py"], {"PYTHONPATH": str(set_up)}, None),
    ):
        done = subprocess.run(
            [python, *words], cwd=set_up, env=variables, capture_output=True, text=True
        )
        assert "by its path" not in done.stderr
        assert out is None or (done.returncode, done.stdout, done.stderr) == (0, out, "")
    asked = subprocess.run(
        [python, set_up / "shared" / "divergence", "--help"],
        cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert (asked.returncode, asked.stderr) == (0, "")
