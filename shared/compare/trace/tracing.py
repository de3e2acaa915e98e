"""Running both sides under the tracer: the run that is shown, its variants, and the two
smaller programs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from shared.compare.trace.events import Trace, from_dict
from shared.config import Config
from shared.errors import RunError
from shared.files import SIDES
from shared.processes import ROOT, run_module

# What is tried beside the run that is shown, one flag at a time.
FLAGS: dict[str, Any] = {
    "gradient_clip_val": 1.0,
    "early_stopping_patience": 1,
    "precision": "bf16-mixed",
    "accumulate_grad_batches": 2,
}
SMALLER = ("basic", "minimal")


@dataclass(frozen=True)
class Both:
    """The same program, traced on both sides.

    Attributes:
        program: train, basic or minimal.
        flag: what was changed, as on the command line; empty for the run that is shown.
    """

    program: str
    flag: str
    raw: Trace
    lightning: Trace


def trace_both(config: dict[str, Any] | None = None) -> list[Both]:
    """The traces of the run that is shown, of its variants, and of the smaller programs.

    Args:
        config: that of the run; without it, the defaults.

    Raises:
        RunError: a side could not be run.
    """
    config = config or vars(Config(dataset="digits"))
    changed = {name: value for name, value in FLAGS.items() if config[name] != value}
    programs = [
        ("train", config),
        *(("train", {**config, name: value}) for name, value in changed.items()),
        *((name, {}) for name in SMALLER),
    ]
    flags = ["", *(f"--{name} {value}" for name, value in changed.items()), *("" for _ in SMALLER)]
    with ThreadPoolExecutor(2) as pool:
        raw, lightning = pool.map(lambda side: trace(side, programs), SIDES)
    return [
        Both(program, flag, a, b)
        for (program, _), flag, a, b in zip(programs, flags, raw, lightning, strict=True)
    ]


def trace(side: str, programs: list[tuple[str, dict[str, Any]]]) -> list[Trace]:
    """Run programs of a side in one process: both sides could not be wrapped in one.

    Raises:
        RunError: the side could not be run.
    """
    done = run_module("shared.compare.trace.tracer", [side, json.dumps(programs)], folder=ROOT)
    if done.status:
        raise RunError(f"tracing {side} failed: {done.last_line}")
    return [from_dict(content) for content in json.loads(done.out)]
