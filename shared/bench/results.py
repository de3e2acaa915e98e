"""The files of a bench: where they lie, what they hold, and of which code they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from shared.files import RUNS
from shared.processes import ROOT

FOLDER = RUNS / "bench"
FULL, QUICK, UNFINISHED = (FOLDER / f"{name}.json" for name in ("bench", "quick", "unfinished"))
PEERS, PEERS_UNFINISHED = FOLDER / "peers.json", FOLDER / "peers-unfinished.json"


class Machine(TypedDict):
    """What was measured on, without its name."""

    cpu: str
    cores: int | None
    os: str
    versions: dict[str, str]


class BenchRun(TypedDict):
    """One timed run: which it is (see `plan.Task`), and its numbers."""

    part: str
    point: str
    who: str
    repeat: int
    batch_size: int
    steps_per_epoch: int
    step_us: float
    epoch_ms: float | None
    first_step_s: float
    total_s: float | None
    memory_mb: float


class BenchResult(TypedDict):
    """A bench, as far as it has gone; `planned` runs make it whole."""

    machine: Machine
    settings: dict[str, Any]
    code: str
    date: str
    planned: int
    runs: list[BenchRun]


class PeerRun(TypedDict):
    """One run to the goal: `seconds` is None where the program did not reach it, `accuracy` is the
    best that it printed, and `status` is None where it was stopped."""

    who: str
    seconds: float | None
    accuracy: float | None
    status: int | None


class PeerResult(TypedDict):
    """Other people's programs and ours; the goal is a test accuracy."""

    machine: Machine
    settings: dict[str, Any]
    code: str
    date: str
    goal: float
    runs: list[PeerRun]


def read_bench(path: Path) -> BenchResult | None:
    """A bench, or None where there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else None


def read_peers(path: Path) -> PeerResult | None:
    """The same for the programs of others."""
    return json.loads(path.read_text()) if path.is_file() else None


def dumps(result: Mapping[str, Any]) -> str:
    """A result as JSON with a line for each run."""
    head = json.dumps({k: v for k, v in result.items() if k != "runs"}, indent=1)
    rows = ",\n".join("  " + json.dumps(row) for row in result["runs"])
    return f'{head[:-2]},\n "runs": [\n{rows}\n ]\n}}\n'


def digest() -> str:
    """SHA-256 of all code that the timed programs consist of."""
    sources = [Path(__file__).with_name("plan.py")]
    for folder in ("raw_pytorch", "lightning", "shared", "shared/data", "shared/bench/timed"):
        sources += sorted((ROOT / folder).glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
