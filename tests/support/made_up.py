"""A bench without a machine: made-up times, which the real code makes into a result."""

from __future__ import annotations

from pathlib import Path

from shared.bench import measuring
from shared.bench.plan import BARE, SERIES, Task, plan
from shared.bench.results import BenchResult
from shared.bench.timed.profile import LINES
from shared.bench.timing import Times
from shared.files import SIDES

# Microseconds of a step of 64 images, made up.
STEP = {"raw_pytorch": 1000.0, "lightning": 1400.0, "limit": 900.0, "loop": 900.0}
# Seconds of CPU until the first step, or the end of what is bare.
CPU = {"torch": 2.0, "optimizer": 4.0, "raw_pytorch": 5.0, "pytorch_lightning": 8.0}


def made_up(task: Task, repeat: int) -> Times:
    """Steps in even time, and 10 ms between two epochs; every repetition a percent slower."""
    step = STEP.get(task.who, 1300.0) * 1e-6 * (1 + repeat / 100)
    steps = [3 + i * step + i // task.steps_per_epoch * 0.01 for i in range(task.steps)]
    ended = steps[-1] + 0.5
    if task.who in BARE:
        return Times([], 3.0, CPU[task.who] * (1 + repeat / 100), 500_000_000)
    fit = (task.steps * step + task.epochs * 0.01) * task.copies if task.who in SIDES else None
    if task.part in SERIES:
        return Times(steps, fit=fit)
    if task.processes > 1:
        return Times([], ended, fit=fit, accuracy=0.995)
    cpu = CPU.get(task.who, 9.0) * (1 + repeat / 100)
    accuracy = None if task.only_start else 0.995
    return Times(steps, ended, cpu, 700_000_000, None if task.only_start else fit, accuracy)


def made_up_bench() -> BenchResult:
    """What a whole bench leaves, with MNIST there."""
    runs = plan(Path("mnist"), Path("noise"), quick=False)
    rows = [measuring.reduce(task, n, made_up(task, n)) for task, n in runs]
    machine = {
        "cpu": "A Processor", "cores": 2, "os": "An OS",
        "versions": {"python": "3.12.0", "torch": "2.9.0"},
    }  # fmt: skip
    hook = "pytorch_lightning/trainer/call.py:155 _call_lightning_module_hook"
    return {
        "machine": machine, "settings": {"threads": 1}, "code": "0" * 64,
        "date": "2026-01-31", "planned": len(runs), "runs": rows,
        "profile": {
            "functions": [{"where": hook, "calls": 13.0, "share": 0.25}],
            "places": {name: f"{package}/{file}:1" for name, (package, file, _) in LINES.items()},
        },
    }  # fmt: skip
