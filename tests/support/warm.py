"""A warm Python for the tests that start many programs, and the files of tests that share it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadFileScheduling

from shared.forks.client import Forks, open_forks

# Those of a group run one after the other in one of the processes that share the tests: what they
# start is forked from the same warm Python.
GROUPS = {
    "tests/instruments/test_puzzles.py": "forks",
    "tests/instruments/test_puzzle_sessions.py": "forks",
    "tests/parity/test_distributed.py": "forks",
    "tests/reliability/test_endurance.py": "killed",
    "tests/reliability/test_failures.py": "killed",
    "tests/reliability/test_kill.py": "killed",
}


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    with open_forks() as started:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        yield started


class ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return GROUPS.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
