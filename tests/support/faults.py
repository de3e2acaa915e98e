"""The record of faults: what was broken on purpose, what a person saw of it, how many cases were
tried, and how many of them lost something or fooled somebody. tests/README.md is made from it.

    @pytest.mark.fault("a bit flipped in a checkpoint")
    def test_a_flipped_bit_is_noticed(side, fault, ...):
        ...
        fault.sees(outcome.err)

A test so marked is one case tried, and one lost when it fails. The kind of a fault, by which
tests/README.md groups them, is the name of the test's file unless the mark says `kind="data"`. A
fault may have many tests; its name is written out in each, for a test finds the names in the
source.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]


class Fault:
    """What a test says about its fault beyond having passed or failed."""

    def __init__(self, entry: dict[str, Any], folder: str) -> None:
        self._entry, self._folder = entry, folder

    def sees(self, line: str) -> None:
        """What the user sees: the one line of the program, or words. The first one counts."""
        line = line.replace(f"{self._folder}/", "").replace(sys.executable, "python")
        line = " ".join(line.split())
        self._entry.setdefault("sees", line)

    def tried(self, count: int) -> None:
        """This test tries so many cases, and not one."""
        self._entry["tried"] = count

    def lost(self, count: int) -> None:
        """So many of them were lost. That the test fails is left to its assertions."""
        self._entry["lost"] = count


@pytest.fixture
def fault(request: pytest.FixtureRequest, tmp_path: Path) -> Fault:
    for name, entry in request.node.user_properties:
        if name == "fault":
            return Fault(entry, str(tmp_path))
    raise pytest.UsageError(f'{request.node.nodeid}: needs @pytest.mark.fault("what is broken")')


def pytest_addoption(parser: pytest.Parser) -> None:
    default = ROOT / "runs" / "faults" / "faults.json"
    parser.addoption("--faults", type=Path, default=default, help="where to keep the record")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'fault(name, kind=""): breaks something, and nothing is lost'
    )
    config.pluginmanager.register(Recorder(config), "recorder of faults")


class Recorder:
    """Keeps the newest result of every marked test by its id.

    A run of a few tests replaces the results of these alone, and so never a fuller record by a
    poorer one. What no longer exists is dropped when its file is collected as a whole.
    """

    def __init__(self, config: pytest.Config) -> None:
        # Absolute, since it is written while a test may be in a folder of its own.
        self.path = Path(config.invocation_params.dir, config.getoption("--faults"))
        self.is_worker = hasattr(config, "workerinput")
        self.config = config
        self.results: dict[str, dict[str, Any]] = {}
        self.collected: list[str] = []
        self.written = time.monotonic()

    # First, and so before -k and -m take away what they do not want.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if mark := item.get_closest_marker("fault"):
                kind = mark.kwargs.get("kind") or item.path.stem.removeprefix("test_")
                side = getattr(item, "callspec", None) and item.callspec.params.get("side")
                entry = {"fault": mark.args[0], "kind": kind, "side": side}
                item.user_properties.append(("fault", entry))
            self.collected.append(item.nodeid)
        if self.is_worker:
            self.config.workeroutput["collected"] = self.collected

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.collected = getattr(node, "workeroutput", {}).get("collected", self.collected)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = dict(report.user_properties).get("fault")
        if entry is None or self.is_worker:
            return
        lost = entry.get("lost", 0)
        if report.failed:
            lost = max(1, lost)
        elif report.when != "call" and not report.skipped:
            return
        tried = 0 if report.skipped else max(lost, entry.get("tried", 1))
        self.results[report.nodeid] = {**entry, "tried": tried, "lost": lost}
        # A long draw that is cut short, by whatever means, keeps what it has.
        if time.monotonic() - self.written > 10:
            self.write()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self.write()

    def write(self) -> None:
        if self.is_worker or not self.results:
            return
        self.written = time.monotonic()
        kept = {k: v for k, v in self._before() if self._exists(k)}
        record = dict(sorted({**kept, **self.results}.items()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    def _before(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            yield from json.loads(self.path.read_text(encoding="utf-8")).items()
        except (OSError, ValueError):  # none yet, or not a record: it is written anew
            return

    def _exists(self, test: str) -> bool:
        file = test.split("::")[0]
        if not (self.config.rootpath / file).is_file():
            return False
        is_whole = not any("::" in argument for argument in self.config.args)
        known = is_whole and any(other.startswith(f"{file}::") for other in self.collected)
        return not known or test in self.collected
