"""The record of faults keeps what it is told, in one process or several, and loses nothing when a
few tests are run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fewer import few
from support.programs import ROOT
from support.record import SIDES

from shared.docs import faults
from shared.files import RUNS

TESTS = """
import pytest

@pytest.mark.fault("a thing breaks")
@pytest.mark.parametrize("side", ["raw_pytorch", "lightning"])
def test_a(side, fault, tmp_path):
    fault.tried(3)
    fault.sees(f"error: {tmp_path}/thing: broken\\n")
    fault.sees("another line")

@pytest.mark.fault("a thing is lost", kind="other")
def test_b():
    assert False

@pytest.mark.fault("a thing that is not here")
def test_c():
    pytest.skip("no such thing")

def test_d():
    pass
"""
A = [f"test_things.py::test_a[{side}]" for side in SIDES]
B, C = "test_things.py::test_b", "test_things.py::test_c"


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`recorded(tests, *arguments)` runs tests in another process, and gives their record."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    Path("pytest.ini").write_text("[pytest]")

    def run(tests: str, *arguments: str) -> dict[str, Any]:
        Path("test_things.py").write_text(tests)
        command = [
            sys.executable,
            "-B",
            "-m",
            "pytest",
            "-p",
            "support.faults",
            "--faults",
            "record.json",
        ]
        subprocess.run([*command, *arguments], env=environment, capture_output=True, timeout=60)
        return json.loads(Path("record.json").read_text())

    return run


@pytest.mark.parametrize("processes", few([[], ["-p", "xdist", "-n", "1"]], [[]]))
def test_the_record_holds_what_was_tried_seen_and_lost(processes, recorded):
    record = recorded(TESTS, *processes)
    assert list(record) == sorted([*A, B, C])
    for test, side in zip(A, SIDES, strict=True):
        assert record[test] == {
            "fault": "a thing breaks", "kind": "things", "side": side,
            "tried": 3, "lost": 0, "sees": "error: thing: broken",
        }  # fmt: skip
    assert record[B]["kind"] == "other"
    assert (record[B]["tried"], record[B]["lost"]) == (1, 1)
    assert (record[C]["tried"], record[C]["lost"]) == (0, 0)


@pytest.mark.parametrize("selection", [["-k", "test_b"], ["test_things.py::test_b"]])
def test_a_run_of_one_test_replaces_its_own_result_only(selection, recorded):
    before = recorded(TESTS)
    mended = TESTS.replace("assert False", "pass")
    after = recorded(mended, *selection)
    assert after.pop(B)["lost"] == 0
    assert after == {test: result for test, result in before.items() if test != B}


def test_a_test_that_is_gone_leaves_the_record_with_the_next_run_of_its_file(recorded):
    Path("record.json").write_text(json.dumps({"test_things.py::test_gone": {"fault": "x"}}))
    assert "test_things.py::test_gone" in recorded(TESTS, B)
    assert "test_things.py::test_gone" not in recorded(TESTS, "-k", "test_b")


def test_a_damaged_record_is_written_anew(recorded):
    Path("record.json").write_text('{"test_things.py::test_a": {"fau')
    assert B in recorded(TESTS)


def keep(name: str, *results: tuple[str, str | None, int, int]) -> None:
    (RUNS / "faults").mkdir(parents=True, exist_ok=True)
    record = {
        f"test_{name}[{number}]": dict(
            fault=fault, kind="disk", side=side, tried=tried, lost=lost, sees=f"error: no {fault}"
        )
        for number, (fault, side, tried, lost) in enumerate(results)
    }
    (RUNS / "faults" / f"{name}.json").write_text(json.dumps(record))


def test_the_table_adds_up_what_was_tried_on_each_side_and_by_neither():
    keep("faults", ("room", SIDES[0], 2, 0), ("room", SIDES[1], 3, 1), ("a|path", None, 4, 0))
    assert faults.page().splitlines()[-2:] == [
        "| disk | a/path | `error: no a/path` | – | – | 4 | 0 |",
        "| disk | room | `error: no room` | 2 | 3 | – | 1 |",
    ]


def test_the_longer_draw_counts_and_a_loss_in_the_shorter_one_too():
    keep("faults", ("room", SIDES[0], 2, 1), ("air", SIDES[0], 5, 0))
    keep("chaos", ("room", SIDES[0], 50, 0), ("air", SIDES[0], 1, 0))
    counts = {name: (fault.counts(), fault.lost) for name, fault in faults.found().items()}
    assert counts == {"room": (("50", "–", "–"), 1), "air": (("5", "–", "–"), 0)}


def test_a_record_that_lacks_a_fault_is_not_made_into_a_table(monkeypatch):
    monkeypatch.setattr(faults, "marked", lambda: {"room", "air"})
    keep("faults", ("room", SIDES[0], 2, 0))
    keep("chaos", ("room", SIDES[0], 50, 0))
    assert faults.missing() == ["air"]
    assert not faults.is_complete()
    keep("faults", ("room", SIDES[0], 2, 0), ("air", SIDES[0], 2, 0))
    assert faults.is_complete()


def test_the_table_is_not_made_from_the_short_draw_alone(monkeypatch):
    monkeypatch.setattr(faults, "marked", lambda: {"room"})
    keep("faults", ("room", SIDES[0], 2, 0))
    assert faults.missing() == []
    assert not faults.is_complete()
