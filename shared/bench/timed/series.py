"""Many short trainings in one process, one after the other: both sides, the limit, and the rungs of
the ladder.

python -m shared.bench.timed.series RESULT RUNS [flags of train]

RUNS is a JSON file: for each training, who it is and its own flags. To start a process takes longer
than to train a few hundred steps, and what is compared here is a tenth of what a machine that
others share is slower or faster by a minute later. The file RESULT gets, for each training, the end
of each optimizer step and, of a side, its `fit_seconds`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

from shared.bench.timed import ladder, limit
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run
from shared.files import SIDES, write_atomically

# Set by importing pytorch_lightning: without a GPU, every optimizer step then looks for its driver,
# that of a hand-written loop in the same process, too.
VARIABLE = "PYTORCH_NVML_BASED_CUDA_CHECK"
BATCHES: dict[tuple[str, str, int], list[Any]] = {}


class Trained(TypedDict):
    """One training: the end of each optimizer step in seconds, and the `fit_seconds` of a side."""

    steps: list[float]
    fit_seconds: float | None


def train_all(runs: list[tuple[str, list[str]]], common: list[str]) -> list[Trained]:
    """Train in the given order; the first of each kind twice, since memory is taken and code is
    loaded for the first time."""
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils.tensorboard import SummaryWriter

    from shared import figures

    # Drawn before and after what is timed.
    figures.add_figures = lambda *_: None
    SummaryWriter.add_graph = lambda *_, **__: None  # type: ignore[method-assign]
    ends: list[float] = []
    register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    seen: set[str] = set()
    found: list[Trained] = []
    for who, flags in runs:
        if who not in seen:
            train_one(who, [*common, *flags])
            seen.add(who)
        ends.clear()
        seconds = train_one(who, [*common, *flags])
        found.append({"steps": list(ends), "fit_seconds": seconds})
    return found


def train_one(who: str, flags: list[str]) -> float | None:
    """Train once. Returns the `fit_seconds` of a side."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = str(Path(folder) / "run")
        config, _ = parse_args("shared.bench.timed.series", [*flags, "--run_dir", run_dir])
        if who in SIDES:
            train = importlib.import_module(f"{who}.train").train
        rung = ladder.RUNGS.get(who)
        os.environ.pop(VARIABLE, None)
        if who == "lightning" or (rung is not None and rung.nvml):
            os.environ[VARIABLE] = "1"
        if who in SIDES:
            return train(config)["fit_seconds"]
        batches = batches_of(config)
        if who == "limit":
            limit.train_bare(config, batches)
        else:
            ladder.train_on(who, config, batches)
    return None


def batches_of(config: Config) -> list[Any]:
    """An epoch of training batches, read once for all trainings on them."""
    key = config.dataset, config.data_dir, config.batch_size
    if key not in BATCHES:
        BATCHES[key] = limit.resident_batches(config, limit.device_name(config))
    return BATCHES[key]


def main() -> None:
    path, runs, *common = sys.argv[1:]
    trained = run(lambda: train_all(json.loads(Path(runs).read_text()), common))
    write_atomically(Path(path), json.dumps(trained))


if __name__ == "__main__":
    main()
