"""A bench without a machine: made-up times, which the real code makes into a result."""

from __future__ import annotations

from pathlib import Path

from shared.bench import measuring
from shared.bench.plan import Task, plan
from shared.bench.results import BenchResult
from shared.bench.timing import Times

# Microseconds of a step of 64 images, made up.
STEP = {"raw_pytorch": 1000.0, "lightning": 1400.0, "limit": 900.0, "loop": 900.0}


def made_up(task: Task, repeat: int) -> Times:
    """Steps in even time, and 10 ms between two epochs; every repetition a percent slower."""
    step = STEP.get(task.who, 1300.0) * 1e-6 * (1 + repeat / 100)
    count = task.limit or task.epochs * task.steps_per_epoch
    steps = [3 + i * step + i // task.steps_per_epoch * 0.01 for i in range(count)]
    return Times(steps, steps[-1] + 0.5, memory=700_000_000)


def made_up_bench() -> BenchResult:
    """What a whole bench leaves, with MNIST there."""
    runs = plan(Path("mnist"), Path("noise"), quick=False)
    rows = [measuring.reduce(task, n, made_up(task, n)) for task, n in runs]
    machine = {
        "cpu": "A Processor", "cores": 2, "os": "An OS",
        "versions": {"python": "3.12.0", "torch": "2.9.0"},
    }  # fmt: skip
    return {
        "machine": machine, "settings": {"threads": 1}, "code": "0" * 64,
        "date": "2026-01-31", "planned": len(runs), "runs": rows,
    }  # fmt: skip
