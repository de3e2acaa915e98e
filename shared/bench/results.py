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
    """One timed run: which it is (see `plan.Task`), and its numbers, as far as it has them.

    `start_s` is from the command to the first step, or to the end of a bare import; `start_cpu_s`
    is what the process has taken of the CPU until then. `fit_s` is from before the first batch to
    after the last validation, of the slower one where two run beside each other; so is `epoch_ms`,
    divided by the epochs, except on the ladder, where it is from first step to first step.
    """

    part: str
    point: str
    who: str
    repeat: int
    images: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    step_us: float | None
    epoch_ms: float | None
    fit_s: float | None
    start_s: float | None
    start_cpu_s: float | None
    total_s: float | None
    test_accuracy: float | None
    memory_mb: float | None


class ProfiledFunction(TypedDict):
    """A function of Lightning: where it stands, its calls in each step, and its share of the time
    that all of Lightning's functions spend in themselves and in what is built in."""

    where: str
    calls: float
    share: float


class Profile(TypedDict):
    """What a profiler saw of the rung "written": the functions that take most, the first one first;
    and, by name, the lines of source that the findings are about."""

    functions: list[ProfiledFunction]
    places: dict[str, str]


class BenchResult(TypedDict):
    """A bench, as far as it has gone; `planned` runs make it whole."""

    machine: Machine
    settings: dict[str, Any]
    code: str
    date: str
    planned: int
    runs: list[BenchRun]
    profile: Profile | None


class PeerRun(TypedDict):
    """One run to the goal: `threads` is None for other people's programs, which choose themselves,
    `seconds` is None where the program did not reach it, `accuracy` is the best that it printed,
    and `status` is None where it was stopped."""

    who: str
    threads: int | None
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
    """A bench, or None where there is no such file, or one from before these numbers were kept."""
    result = json.loads(path.read_text()) if path.is_file() else None
    return result if result is not None and "profile" in result else None


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
