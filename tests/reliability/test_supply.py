"""What is installed is what was chosen, nothing here runs strange code, and what is shown in a
browser neither listens to others nor lets a name become a program."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.programs import ROOT, wait_for
from support.record import SIDES

from shared.compare.comparison import ComparedRuns, compare, read_runs
from shared.compare.page import page
from shared.compare.trace.tracing import Both

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCK = (ROOT / "requirements.lock").read_text()


# The lock


def project() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by the section of the lock that has to hold it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {"dependencies": project["project"]["dependencies"], **project["dependency-groups"]}


def locked() -> dict[str, list[tuple[str, str]]]:
    """Name and version of each entry of the lock, by section."""
    _, *parts = re.split(r"^# == (.+)$", LOCK, flags=re.M)
    entries = (re.findall(r"^([a-z][\w.-]*)==([^ ;\\\n]+)", part, re.M) for part in parts[1::2])
    return dict(zip(parts[::2], entries, strict=True))


def test_the_lock_has_a_section_for_each_group_and_holds_all_that_is_required() -> None:
    sections = locked()
    assert list(sections) == list(project())
    for section, wanted in project().items():
        for requirement in map(Requirement, wanted):
            entries = sections["dependencies"] + sections[section]
            versions = [v for name, v in entries if name == requirement.name.lower()]
            assert versions, f"{requirement} is not in the lock: make lock"
            assert all(version in requirement.specifier for version in versions), requirement


def test_everything_in_the_lock_has_a_hash() -> None:
    entries = re.split(r"^(?=[a-z])", LOCK, flags=re.M)[1:]
    assert len(entries) == sum(map(len, locked().values())) > 100
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_somebody_who_only_trains_installs_neither_tests_nor_a_driver_of_browsers() -> None:
    trains = {name for name, _ in locked()["dependencies"]}
    assert {"torch", "pytorch-lightning", "tensorboard"} <= trains
    others = {"pytest", "hypothesis", "ruff", "mypy", "playwright", "pip-audit"}
    assert not trains & others
    assert others <= {name for entries in locked().values() for name, _ in entries}


def asked_of_make(*arguments: str) -> str:
    """The commands that make would run in a checkout with an environment and nothing in it."""
    return subprocess.run(
        ["make", "-n", "-o", ".venv/bin/python", "-W", "requirements.lock", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("target", "sections"),
    [
        ("setup", ["dependencies"]),
        ("raw", ["dependencies"]),
        ("lint", ["dependencies", "lint"]),
        ("test", ["dependencies", "test", "lint"]),
        ("test-long", ["dependencies", "test", "browser"]),
        ("audit", ["dependencies", "audit"]),
    ],
)
def test_each_command_installs_what_it_needs_and_no_more(target: str, sections: list[str]) -> None:
    assert re.findall(r"^\.ci/install \S+ (.+)$", asked_of_make(target), re.M) == sections


# Setting up


WITHOUT_UV = {**os.environ, "PATH": "/usr/bin:/bin"}


FAKE_PYTHON = """
import pathlib, sys
words = sys.argv[1:]
if words[:3] == ["-m", "pip", "install"]:
    for i, word in enumerate(words):
        if words[i - 1] == "-r":
            words[i] = " ".join(pathlib.Path(word).read_text().split())
    with open(LOG, "a") as log:
        print(*words, file=log)
"""


@pytest.fixture
def asked_of_pip(tmp_path: Path) -> Callable[..., list[str]]:
    """`asked_of_pip("dependencies", LOCK="")` gives back how .ci/install calls pip: the arguments,
    a line for each call, with the content of a file that `-r` names in place of its name."""
    python, log = tmp_path / "venv" / "bin" / "python", tmp_path / "log"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}{FAKE_PYTHON.replace('LOG', repr(str(log)))}")
    python.chmod(0o755)

    def ask(*sections: str, **variables: str) -> list[str]:
        subprocess.run(
            [ROOT / ".ci" / "install", python, *sections],
            env={**WITHOUT_UV, **variables}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return log.read_text().splitlines()

    return ask


def test_set_up_takes_what_is_locked_and_looks_for_nothing_else(asked_of_pip: Callable) -> None:
    (call,) = asked_of_pip("test", LOCK="requirements.lock", TORCH_INDEX="")
    assert "--no-deps --require-hashes" in call
    assert "pytest==" in call and "--hash=sha256:" in call
    assert "torch==" not in call


def test_without_a_lock_the_versions_are_the_same_and_no_hash_is_asked_for(
    asked_of_pip: Callable,
) -> None:
    (call,) = asked_of_pip("dependencies", LOCK="", TORCH_INDEX="")
    assert "torch==" in call and "numpy==" in call
    assert "hash" not in call
    assert "nvidia" not in call, "torch knows which CUDA it wants"


def test_torch_from_another_place_comes_first_and_the_rest_is_held_to_its_hashes(
    asked_of_pip: Callable,
) -> None:
    first, rest, last = asked_of_pip("dependencies", TORCH_INDEX="https://x/cpu")
    assert first.endswith("--no-deps --index-url https://x/cpu torch torchvision")
    assert "--require-hashes" in rest and "numpy==" in rest
    assert not re.search(r"(^| )(torch|torchvision|triton|nvidia-\S+|cuda-\S+)==", rest)
    assert last.endswith("versions.txt torch torchvision") and "--no-deps" not in last


def test_a_group_leaves_torch_from_another_place_as_it_is(asked_of_pip: Callable) -> None:
    (call,) = asked_of_pip("test", TORCH_INDEX="https://x/cpu")
    assert "--index-url" not in call


def test_another_version_of_torch_does_not_meet_the_locked_one(
    asked_of_pip: Callable, tmp_path: Path
) -> None:
    first, _, last = asked_of_pip("dependencies", TORCH="torch==2.9.0 torch_xla==2.9.0")
    for call in (first, last):
        assert call.endswith(" torch==2.9.0 torch_xla==2.9.0")
    versions = (tmp_path / "venv" / "versions.txt").read_text()
    assert "numpy==" in versions and "torchmetrics==" in versions
    assert not re.search(r"^torch(vision)?==", versions, re.M)


def wheel(folder: Path) -> str:
    """Write the package tiny 1.0. Returns the SHA-256 of its file."""
    parts = {
        "tiny.py": "",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": "",
    }
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.long
@pytest.mark.fault("a package that is not the one that was locked", kind="pages and packages")
def test_a_package_that_is_not_the_one_that_was_locked_is_refused(
    tmp_path: Path, fault: Any
) -> None:
    venv, lock, sha256 = tmp_path / "venv", tmp_path / "lock", wheel(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)

    def install(sha256: str) -> subprocess.CompletedProcess[str]:
        lock.write_text(f"# == dependencies\n\ntiny==1.0 \\\n    --hash=sha256:{sha256}\n")
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "LOCK": str(lock)}
        return subprocess.run(
            [ROOT / ".ci" / "install", venv / "bin" / "python", "dependencies"],
            env={**WITHOUT_UV, **offline}, capture_output=True, text=True,
        )  # fmt: skip

    def is_there() -> bool:
        return bool(list(venv.glob("lib/*/site-packages/tiny.py")))

    refused = install("0" * 64)
    assert refused.returncode == 1 and not is_there()
    error = refused.stderr.splitlines()[-1]
    assert error.startswith(f"error: not installed as {lock} has it; ")
    fault.sees(error.replace(str(lock), "requirements.lock"))
    taken = install(sha256)
    assert taken.returncode == 0 and is_there(), taken.stderr


def test_a_lock_without_the_section_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("# == dependencies\n")
    done = subprocess.run(
        [ROOT / ".ci" / "install", sys.executable, "test"],
        env={**WITHOUT_UV, "LOCK": str(lock)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    message = f"error: {lock} has no section '# == test'; make lock writes all of them\n"
    assert done.stderr == message


def test_a_python_that_is_too_old_or_too_new_is_named_before_anything_is_made() -> None:
    complaint = runpy.run_path(str(ROOT / ".ci" / "check_python.py"))["complaint"]
    assert complaint((3, 9)) == "Python 3.9, and 3.10 to 3.13 is needed"
    assert complaint((2, 7)) and complaint((3, 15)) and complaint((4, 0))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for minor in range(20):
        allowed = f"3.{minor}" in SpecifierSet(wanted["requires-python"])
        assert (complaint((3, minor)) is None) == allowed


# What would run strange code


STRANGE = {
    "S102": "exec(text)",
    "S307": "eval(text)",
    "S301": "import pickle\npickle.loads(data)",
    "S506": "import yaml\nyaml.load(text)",
    "S602": "import subprocess\nsubprocess.run(text, shell=True)",
    "S605": "import os\nos.system(text)",
    "S202": "import tarfile\ntarfile.open(path).extractall()",
    "S306": "import tempfile\ntempfile.mktemp()",
}


@pytest.mark.fault("code that runs what it is given", kind="pages and packages")
@pytest.mark.parametrize("folder", ["shared", "raw_pytorch", "lightning", "tests", ".ci"])
def test_the_linter_refuses_what_runs_strange_code(folder: str, fault: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json",
         "--stdin-filename", f"{folder}/strange.py", "-"],
        cwd=ROOT, capture_output=True, text=True, input="\n".join(STRANGE.values()),
    )  # fmt: skip
    assert done.returncode == 1
    assert set(STRANGE) <= {found["code"] for found in json.loads(done.stdout)}
    fault.tried(len(STRANGE))


def test_every_checkpoint_is_loaded_as_tensors_and_plain_values() -> None:
    """ruff has no rule for it."""
    calls = []
    for folder in ("shared", "raw_pytorch", "lightning"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    given = {word.arg: word.value for word in node.keywords}
                    name = ast.unparse(node.func)
                    if name.endswith(("torch.load", ".load_from_checkpoint")) or (
                        name.startswith("trainer.") and "ckpt_path" in given
                    ):
                        calls.append(name)
                        assert ast.unparse(given["weights_only"]) == "True", (path, name)
    assert {"torch.load", "trainer.fit", "trainer.test"} <= set(calls)
    assert len(calls) >= 5


def test_nothing_is_excepted_from_that() -> None:
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in str(path.relative_to(ROOT))]
    assert len(files) > 60
    mark = re.compile(r"# noqa: S(?!310|103|606|704)\d+")
    assert [path.name for path in files if mark.search(path.read_text())] == []


# What a browser is shown


class Marks(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attributes


def marks(html: str) -> Marks:
    found = Marks()
    found.feed(html)
    return found


EVIL = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)",
    "</style></svg></title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;",
    "]]><!--",
)


@pytest.mark.fault("a hostile name on a page", kind="pages and packages")
def test_a_name_is_shown_on_the_page_as_text(
    compared: Path, traced: list[Both], fault: Any
) -> None:
    comparison = compare(*read_runs(*(compared / side for side in SIDES)), traced)

    def renamed(text: str) -> ComparedRuns:
        """With this text in whatever a run's files say of it, names of settings included."""
        runs = []
        for run in (comparison.raw, comparison.lightning):
            strings = {k: text for k, v in run.summary.items() if isinstance(v, str)}
            summary = {**run.summary, **strings, "versions": {text: text}}
            runs.append(dataclasses.replace(run, summary=summary, config={**run.config}))
        runs[0].config[text] = text
        return dataclasses.replace(comparison, raw=runs[0], lightning=runs[1])

    plain, hostile = marks(page.render(renamed("x"))), marks(page.render(renamed(" ".join(EVIL))))
    assert hostile.elements == plain.elements
    assert [name for name, _ in hostile.attributes] == [name for name, _ in plain.attributes]
    fault.tried(len(EVIL))
    fault.sees("the name, as text")


def listening(port: int) -> set[str]:
    """The addresses, as Linux writes them, on which somebody listens at a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            local, _, state = line.split()[1:4]
            address, at = local.rsplit(":", 1)
            if state == "0A" and int(at, 16) == port:
                found.add(address)
    return found


@pytest.mark.fault("a server that others could reach", kind="pages and packages")
def test_tensorboard_listens_to_this_machine_only(fault: Any) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux tells who listens without another program")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["make", "-o", ".venv/.ready", "tensorboard", f"PORT={port}", f"PY={sys.executable}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"},
    )  # fmt: skip
    try:
        wait_for(lambda: listening(port) or process.poll() is not None, seconds=120)
        assert listening(port) == {"0100007F"}, "127.0.0.1, as Linux writes it"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    fault.sees("it answers on 127.0.0.1 only")
