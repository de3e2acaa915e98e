"""What tests/parity/test_distributed.py starts: one process of several, which runs a list
of jobs on both sides, one after another, and writes down what it computed.

torchrun --nproc_per_node=2 tests/support/ddp_worker.py FOLDER      (jobs in FOLDER/jobs.json)
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

import shared.data
import shared.model
from shared.config import Config
from shared.errors import Interrupted, RunError, run
from support.fewer import fewer
from support.record import at_batch, recording, spoiled_loss

# Whole batches in one process and in two, so that the same samples make the same global batch.
WHOLE_BATCHES = 19 * 64


@contextlib.contextmanager
def whole_batches() -> Iterator[None]:
    """Train on so many images that no process has to be given some twice."""
    load = shared.data.load

    shared.data.load = fewer(load, slice(WHOLE_BATCHES), slice(None))
    try:
        yield
    finally:
        shared.data.load = load


@contextlib.contextmanager
def without_batch_norm() -> Iterator[None]:
    """Leave out what depends on which samples a process has of a global batch."""
    norm = nn.BatchNorm2d
    nn.BatchNorm2d = lambda channels: nn.Identity()
    try:
        yield
    finally:
        nn.BatchNorm2d = norm


@contextlib.contextmanager
def counting() -> Iterator[dict[str, Any]]:
    """Count what DistributedDataParallel averages, and note which samples this process is given."""
    seen: dict[str, Any] = {"all_reduces": 0, "train": [], "val": [], "test": []}
    init, getitems = DistributedDataParallel.__init__, shared.data.ImageDataset.__getitems__
    names = {1257: "train", WHOLE_BATCHES: "train", 180: "val", 360: "test"}

    # Without annotations, which DistributedDataParallel would compare with classes, not strings.
    def average(_, bucket):
        seen["all_reduces"] += 1
        tensor = bucket.buffer().div_(dist.get_world_size())
        done = dist.all_reduce(tensor, async_op=True).get_future()
        return done.then(lambda future: future.value()[0])

    def init_and_register(self: DistributedDataParallel, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.register_comm_hook(None, average)

    def noted(self: shared.data.ImageDataset, indices: list[int]) -> Any:
        seen[names[len(self)]].append(list(indices))
        return getitems(self, indices)

    DistributedDataParallel.__init__ = init_and_register
    shared.data.ImageDataset.__getitems__ = noted
    try:
        yield seen
    finally:
        DistributedDataParallel.__init__ = init
        shared.data.ImageDataset.__getitems__ = getitems


@contextlib.contextmanager
def slow_preparation(marker: Path) -> Iterator[list[str]]:
    """Take time to prepare the data, and note what this process did and found: `prepared`, and
    `loaded`, or `loaded too early`."""
    prepare, load, seen = shared.data.prepare, shared.data.load, []

    def prepared(*args: Any) -> None:
        time.sleep(0.5)
        prepare(*args)
        marker.touch()
        seen.append("prepared")

    def loaded(*args: Any) -> Any:
        seen.append("loaded" if marker.exists() else "loaded too early")
        return load(*args)

    shared.data.prepare, shared.data.load = prepared, loaded
    try:
        yield seen
    finally:
        shared.data.prepare, shared.data.load = prepare, load


@contextlib.contextmanager
def without_adam() -> Iterator[None]:
    """AdamW divides by the size of a gradient: where that is next to nothing, rounding becomes a
    whole step."""
    adamw = shared.model.AdamW
    shared.model.AdamW = lambda parameters, lr, weight_decay, fused: torch.optim.SGD(
        parameters, lr, momentum=0.9, weight_decay=weight_decay
    )
    try:
        yield
    finally:
        shared.model.AdamW = adamw


ALTERATIONS = {
    "whole_batches": whole_batches,
    "without_adam": without_adam,
    "without_batch_norm": without_batch_norm,
}


def record(
    side: str, options: dict[str, Any], alterations: list[str], predicts: bool = False
) -> dict[str, Any]:
    """Train, predict if that is asked for, and give what can be compared, as JSON can hold it:
    floats come back to the bit."""
    with contextlib.ExitStack() as stack:
        marker = Path(f"{options['run_dir']}.prepared")
        preparation = stack.enter_context(slow_preparation(marker))
        for name in alterations:
            stack.enter_context(ALTERATIONS[name]())
        seen, run = stack.enter_context(counting()), stack.enter_context(recording())
        interrupted = None
        try:
            run.summary = importlib.import_module(f"{side}.train").train(Config(**options))
            if predicts:
                best = Config(run_dir=options["run_dir"], accelerator="cpu")
                program = importlib.import_module(f"{side}.predict")
                seen["probabilities"] = program.predict(best).tolist()
        except Interrupted as error:
            interrupted = str(error)
    return {
        **seen,
        "train_losses": [loss.item() for loss in run.train_losses],
        "eval_losses": [loss.item() for loss in run.eval_losses],
        "learning_rates": run.learning_rates,
        "gradients": run.gradients,
        "weights": run.weights,
        "summary": run.summary,
        "interrupted": interrupted,
        "preparation": preparation,
    }


def jobs(folder: Path) -> None:
    """Run all jobs; one is {name, side, options, alterations, predicts, interrupt: [rank, batch]
    or null}."""
    rank, done = int(os.environ["RANK"]), {}
    for job in json.loads((folder / "jobs.json").read_text()):
        who, batch = job["interrupt"] or (None, 0)
        happens = (lambda: os.kill(os.getpid(), signal.SIGTERM)) if rank == who else (lambda: None)
        with at_batch(batch, happens):
            done[job["name"]] = record(
                job["side"], job["options"], job["alterations"], job["predicts"]
            )
    (folder / f"rank{rank}.json").write_text(json.dumps(done))


def die(side: str, batch: int, how: str) -> None:
    """Run a side's program, in which the second process dies at a batch of the first attempt."""
    program = importlib.import_module(f"{side}.__main__")

    def happens() -> None:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RunError("the second process has had enough")

    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if first and int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 1:
        with spoiled_loss(batch, math.nan) if how == "nan" else at_batch(batch, happens):
            run(program.main)
    else:
        run(program.main)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "die":
        side, batch, how = sys.argv[2:5]
        sys.argv[1:] = ["train", *sys.argv[5:]]
        die(side, int(batch), how)
    else:
        folder = Path(sys.argv[1])
        # Figures and graphs take as long as the rest of a short run.
        SummaryWriter.add_figure = SummaryWriter.add_graph = lambda *_, **__: None
        run(lambda: jobs(folder))
