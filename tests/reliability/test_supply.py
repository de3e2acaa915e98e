"""What is installed is what was chosen, known holes in it are reported, nothing here runs strange
code, and what is shown in a browser neither listens to others nor lets a name become a program."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT, wait_for
from support.record import SIDES

from shared.compare.comparison import ComparedRuns, compare_runs
from shared.compare.page import page
from shared.compare.trace.events import Trace

LOCK = (ROOT / "requirements.lock").read_text()


# The lock


def pinned(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([\w.-]+)==([^ ;\\\n]+)", text, re.M))


def test_the_lock_holds_the_versions_of_the_constraints() -> None:
    constraints = pinned((ROOT / "constraints.txt").read_text())
    assert len(constraints) > 60
    assert constraints - pinned(LOCK) == set(), "make lock writes requirements.lock anew"


def test_the_lock_holds_all_that_is_required() -> None:
    required = set(re.findall(r"^([\w-]+)", (ROOT / "requirements.txt").read_text(), re.M))
    assert required - {name for name, _ in pinned(LOCK)} == set()


def test_everything_in_the_lock_has_a_hash() -> None:
    entries = re.split(r"^(?=[a-z])", LOCK.split("\n\n", 1)[1], flags=re.M)[1:]
    assert len(entries) == len(pinned(LOCK)) > 80
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize(
    ("variables", "held", "free"),
    [
        ([], ["--require-hashes"], []),
        (["LOCK="], [], ["no hash is checked"]),
        (["TORCH_INDEX=x"], ["--require-hashes"], ["--index-url x", "torchvision"]),
    ],
    ids=["as it is", "without a lock", "another torch"],
)
def test_set_up_is_held_to_the_lock_unless_told_otherwise(
    variables: list[str], held: list[str], free: list[str]
) -> None:
    done = subprocess.run(
        ["make", "-n", "-W", "requirements.txt", "-o", ".venv/bin/python", "setup", *variables],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for part in held + free:
        assert part in done.stdout
    assert ("--require-hashes" in done.stdout) == bool(held)


# Known holes


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def database(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int, object], list]]:
    """`database(200, answer)` stands in for osv.dev; the list that it gives back holds what it was
    asked."""
    asked: list[Any] = []
    servers: list[HTTPServer] = []

    def start(status: int, answer: object) -> list[Any]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.end_headers()
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(audit, "DATABASE", f"http://127.0.0.1:{server.server_port}/")
        Path("lock").write_text("one==1.0 \\\n    --hash=sha256:0\ntwo==2.0 ; python > '3'\n")
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


HOLE = {"vulns": [{"id": "GHSA-1", "modified": "2026-01-01"}]}


@pytest.mark.fault("a version with a known vulnerability", kind="pages and packages")
def test_a_known_vulnerability_fails_the_audit_and_is_named(
    audit: ModuleType, database: Callable, capsys: pytest.CaptureFixture[str], fault: Any
) -> None:
    asked = database(200, {"results": [{}, HOLE]})
    assert audit.main("lock") == 1
    out, err = capsys.readouterr()
    assert out == "two 2.0: https://osv.dev/vulnerability/GHSA-1\n"
    assert err == "error: 1 known vulnerabilities; raise the versions, then make lock\n"
    fault.sees(err)
    assert [query["package"]["name"] for query in asked[0]["queries"]] == ["one", "two"]
    assert [query["version"] for query in asked[0]["queries"]] == ["1.0", "2.0"]


def test_without_a_known_vulnerability_the_audit_passes(
    audit: ModuleType, database: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    database(200, {"results": [{}, {"vulns": []}]})
    assert audit.main("lock") == 0
    assert capsys.readouterr().out == "2 packages, and no known vulnerability in any\n"


@pytest.mark.parametrize("status", [500, 503, 403])
def test_an_audit_that_cannot_ask_says_so_and_fails_nothing(
    status: int, audit: ModuleType, database: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    database(status, {})
    assert audit.main("lock") == 0
    assert "osv.dev is not reachable" in capsys.readouterr().out
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        audit.DATABASE = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert audit.main("lock") == 0
    assert "osv.dev is not reachable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, "<html>"), (200, []), (200, {}), (200, {"results": [{}]}), (400, {"code": 3})],
    ids=str,
)
def test_an_answer_that_is_none_does_not_pass_for_a_good_one(
    status: int,
    answer: object,
    audit: ModuleType,
    database: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database(status, answer)
    assert audit.main("lock") == 1
    assert capsys.readouterr().err.startswith("error: osv.dev: the answer cannot be understood")


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
    mark = re.compile(r"# noqa: S(?!310|103|704)\d+")
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
    compared: Path, traces: list[Trace], fault: Any
) -> None:
    comparison = compare_runs(*(compared / side for side in SIDES), traces=traces)

    def renamed(text: str) -> ComparedRuns:
        """With this text in whatever a run's files say of it, names of settings included."""
        runs = []
        for run in (comparison.raw, comparison.lightning):
            strings = {k: text for k, v in run.summary.items() if isinstance(v, str)}
            summary = {**run.summary, **strings, "versions": {text: text}}
            runs.append(dataclasses.replace(run, summary=summary, config={**run.config}))
        runs[0].config[text] = text
        wrong = [dataclasses.replace(x, truth=text, raw=(text, 1.0)) for x in comparison.wrong]
        return dataclasses.replace(comparison, raw=runs[0], lightning=runs[1], wrong=wrong)

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
