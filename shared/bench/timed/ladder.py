"""What each feature of a Trainer costs: one rung of a ladder, over the net and the batches of
`limit.py`.

python -m shared.bench.timed.ladder TIMES ROUNDS --width 1 --max_epochs 3

All rungs are climbed in one process, in turn and many times: what a feature adds is a tenth of what
a machine that others share is slower or faster by a minute later. The network is as small as can
be, since the features cost the same around any.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.bench.timed import limit
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run
from shared.files import write_atomically


@dataclass(frozen=True)
class Rung:
    """What is switched on.

    Attributes:
        log_every: steps between two calls of `self.log`; None for no call.
        bar: steps between two refreshes of the progress bar; None for no bar.
        base: the rung from which this one differs by one feature.
    """

    log_every: int | None = None
    bar: int | None = None
    tensorboard: bool = False
    checkpoints: bool = False
    manual: bool = False
    keep_nvml: bool = True
    base: str = "trainer"


RUNGS = {
    "loop": None,  # written by hand
    "trainer": Rung(base="loop"),
    "manual": Rung(manual=True),
    "nvml": Rung(keep_nvml=False),
    "log": Rung(log_every=1),
    "bar": Rung(log_every=1, bar=1, base="log"),
    "tensorboard": Rung(log_every=1, tensorboard=True, base="log"),
    "checkpoints": Rung(log_every=1, checkpoints=True, base="log"),
    "defaults": Rung(log_every=1, bar=1, tensorboard=True, checkpoints=True, base="loop"),
    "tuned": Rung(
        log_every=50, bar=20, tensorboard=True, checkpoints=True, keep_nvml=False, base="loop"
    ),
}


class Batches:
    """Batches that lie ready, as something a Trainer takes for a loader: a list would mean several
    loaders to it."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def train_on(name: str, config: Config, batches: list[Any]) -> None:
    """Train on one rung."""
    rung = RUNGS[name]
    # Set by importing pytorch_lightning: without a GPU, every optimizer step then looks for its
    # driver, that of a hand-written loop in the same process, too.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    if rung is None or not rung.keep_nvml:
        del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
    if rung is None:
        limit.train_bare(config, batches)
        return
    with tempfile.TemporaryDirectory() as folder:
        climb_on(rung, config, Batches(batches), folder)


def climb_on(rung: Rung, config: Config, batches: Batches, folder: str) -> None:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
    from pytorch_lightning.loggers import TensorBoardLogger

    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    callbacks: list[Any] = []
    if rung.bar:
        callbacks.append(TQDMProgressBar(refresh_rate=rung.bar))
    if rung.checkpoints:
        callbacks.append(ModelCheckpoint(dirpath=folder))
    trainer = pl.Trainer(
        accelerator=limit.device_name(config),
        max_epochs=config.max_epochs,
        logger=TensorBoardLogger(folder) if rung.tensorboard else False,
        callbacks=callbacks,
        enable_progress_bar=bool(rung.bar),
        enable_checkpointing=rung.checkpoints,
        enable_model_summary=False,
    )
    trainer.fit(make_module(rung, config, len(batches) * config.max_epochs), batches)


def make_module(rung: Rung, config: Config, total_steps: int) -> Any:
    import pytorch_lightning as pl
    from torch.nn.functional import cross_entropy

    from shared.model import ConvNet, make_optimizer, make_scheduler

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = ConvNet(config.dropout, config.width)
            self.automatic_optimization = not rung.manual

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            images, labels = batch
            loss = cross_entropy(self.net(images), labels)
            if rung.log_every and batch_idx % rung.log_every == 0:
                self.log("train/loss", loss, prog_bar=True)
            if rung.manual:
                optimizer: Any = self.optimizers()
                scheduler: Any = self.lr_schedulers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                scheduler.step()
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = make_optimizer(self, config.lr, config.weight_decay)
            scheduler = make_scheduler(optimizer, config.lr, total_steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return Module()


def climb(rounds: int, config: Config) -> dict[str, list[list[float]]]:
    """Train on every rung in turn, every second round from the top down, so that what slows the
    machine for a moment meets them alike.

    Returns:
        For each rung and round, the end of each optimizer step, in seconds.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    batches = limit.resident_batches(config, limit.device_name(config))
    ends: list[float] = []
    register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    found: dict[str, list[list[float]]] = {name: [] for name in RUNGS}
    train_on("tuned", config, batches)  # memory is taken, and code is loaded, for the first time
    for number in range(rounds):
        for name in list(RUNGS)[:: 1 if number % 2 == 0 else -1]:
            ends.clear()
            train_on(name, config, batches)
            found[name].append(list(ends))
    return found


def main() -> None:
    """Arguments: a file for the times, how many rounds, and the flags of train."""
    path, rounds, *flags = sys.argv[1:]
    config, _ = parse_args(
        "shared.bench.timed.ladder",
        flags,
        description="Train on every rung of the ladder, in turn.",
    )
    run(lambda: write_atomically(Path(path), json.dumps(climb(int(rounds), config))))


if __name__ == "__main__":
    main()
