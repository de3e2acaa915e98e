"""Running both sides under the tracer: the run that is shown, its variants, and the two
smaller programs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from shared.compare.trace.events import Trace, from_dict
from shared.config import Config
from shared.errors import RunError
from shared.files import SIDES
from shared.processes import ROOT, run_module

# What differs from the run that is shown, so that it is short, in one process and seen in full.
SHORT: dict[str, Any] = dict(
    max_epochs=1,
    devices=1,
    num_nodes=1,
    num_workers=0,
    compile=False,
    fast_dev_run=False,
    ckpt_path=None,
    progress_bar=True,
    log_every_n_steps=1,
)
# What is tried beside the run that is shown, as on the command line.
VARIANTS: dict[str, dict[str, Any]] = {
    "--gradient_clip_val 1.0": {"gradient_clip_val": 1.0},
    "--early_stopping_patience 1": {"early_stopping_patience": 1},
    "--precision bf16-mixed": {"precision": "bf16-mixed"},
    "--accumulate_grad_batches 2": {"accumulate_grad_batches": 2},
}
# The second process is a copy of the first, which other systems do not make safely.
if sys.platform == "linux":
    VARIANTS["--devices 2 --accelerator cpu"] = {"devices": 2, "accelerator": "cpu"}
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
    """The traces of the run that is shown, of its variants, and of the smaller programs. They run
    in processes of their own.

    Args:
        config: that of the run; without it, the defaults.

    Raises:
        RunError: a side could not be run.
    """
    shown = {**(config or vars(Config(dataset="digits"))), **SHORT}
    runs = [
        ("train", "", shown),
        *(
            ("train", flag, {**shown, **changed})
            for flag, changed in VARIANTS.items()
            if any(shown[name] != value for name, value in changed.items() if name != "accelerator")
        ),
        *((name, "", {}) for name in SMALLER),
    ]
    programs = [(program, options) for program, _, options in runs]
    raw, lightning = trace_programs({side: programs for side in SIDES}).values()
    return [
        Both(program, flag, a, b)
        for (program, flag, _), a, b in zip(runs, raw, lightning, strict=True)
    ]


def trace_programs(programs: dict[str, list[tuple[str, dict[str, Any]]]]) -> dict[str, list[Trace]]:
    """The traces of programs of each side, from a process that wraps what they call.

    Raises:
        RunError: a program could not be run.
    """
    done = run_module("shared.compare.trace.tracer", [json.dumps(programs)], folder=ROOT)
    if done.status:
        raise RunError(f"tracing failed: {done.last_line}")
    return {
        side: [from_dict(trace) for trace in some] for side, some in json.loads(done.out).items()
    }
