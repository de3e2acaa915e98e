"""What each feature of a Trainer costs: a ladder from a loop without one up to how lightning/ is
written, and down again by tuning, over the net and the batches of `limit.py`.

The network is as small as can be, since the features cost the same around any.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from shared.bench.timed import limit
from shared.config import Config


@dataclass(frozen=True)
class Rung:
    """What is switched on.

    Attributes:
        base: the rung from which this one differs by one feature.
        log_every: steps between two calls of `self.log`; None for no call.
        accuracy: counted by torchmetrics and handed to `self.log` in each step ("metric"), or
            summed up, and logged at the epoch's end ("sum").
        bar: steps between two refreshes of the progress bar; None for no bar.
        nvml: whether the environment variable stays that importing pytorch_lightning sets.
    """

    base: str
    log_every: int | None = None
    accuracy: str = ""
    bar: int | None = None
    tensorboard: bool = False
    checkpoints: bool = False
    nvml: bool = True
    manual: bool = False


# Up to "written", which is how lightning/ is written, and down from there. None is written by hand.
RUNGS: dict[str, Rung | None] = {
    "loop": None,
    "trainer": Rung("loop"),
    "log": Rung("trainer", 1),
    "metric": Rung("log", 1, "metric"),
    "bar": Rung("metric", 1, "metric", 1),
    "tensorboard": Rung("bar", 1, "metric", 1, tensorboard=True),
    "written": Rung("tensorboard", 1, "metric", 1, tensorboard=True, checkpoints=True),
    "log50": Rung("written", 50, "metric", 1, tensorboard=True, checkpoints=True),
    "sum": Rung("log50", 50, "sum", 1, tensorboard=True, checkpoints=True),
    "bar20": Rung("sum", 50, "sum", 20, tensorboard=True, checkpoints=True),
    "tuned": Rung("bar20", 50, "sum", 20, tensorboard=True, checkpoints=True, nvml=False),
    "manual": Rung("trainer", manual=True),
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
    """Train on one rung, for an epoch and the step after it: from first step to first step, an
    epoch is whole."""
    rung = RUNGS[name]
    if rung is None:
        limit.train_bare(config, batches, len(batches) + 1)
        return
    with tempfile.TemporaryDirectory() as folder:
        climb_on(rung, config, Batches(batches), folder)


def climb_on(rung: Rung, config: Config, batches: Batches, folder: str) -> None:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
    from pytorch_lightning.loggers import TensorBoardLogger

    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    callbacks: list[Any] = []
    if rung.bar:
        callbacks.append(TQDMProgressBar(refresh_rate=rung.bar))
    if rung.tensorboard:
        callbacks.append(LearningRateMonitor("step"))
    if rung.checkpoints:
        callbacks.append(ModelCheckpoint(dirpath=folder))
    trainer = pl.Trainer(
        accelerator=limit.device_name(config),
        max_epochs=config.max_epochs,
        max_steps=len(batches) + 1,
        logger=TensorBoardLogger(folder) if rung.tensorboard else False,
        callbacks=callbacks,
        enable_progress_bar=bool(rung.bar),
        enable_checkpointing=rung.checkpoints,
        enable_model_summary=False,
    )
    trainer.fit(make_module(rung, config, len(batches) * config.max_epochs), batches)


def make_module(rung: Rung, config: Config, total_steps: int) -> Any:
    import pytorch_lightning as pl
    import torch
    from torch.nn.functional import cross_entropy
    from torchmetrics import MeanMetric

    from shared.model import ConvNet, make_optimizer, make_scheduler

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = ConvNet(config.dropout, config.width)
            self.automatic_optimization = not rung.manual
            self.accuracy = MeanMetric() if rung.accuracy == "metric" else None
            self.right, self.seen = torch.tensor(0), 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            images, labels = batch
            logits = self.net(images)
            loss = cross_entropy(logits, labels)
            if self.accuracy is not None:
                self.accuracy.update(logits.argmax(dim=1) == labels)
                self.log("train/accuracy", self.accuracy, on_step=False, on_epoch=True)
            elif rung.accuracy == "sum":
                self.right = self.right + (logits.argmax(dim=1) == labels).sum()
                self.seen += len(labels)
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

        def on_train_epoch_end(self) -> None:
            if self.seen:
                self.log("train/accuracy", self.right / self.seen)
                self.right, self.seen = torch.tensor(0), 0

        def configure_optimizers(self) -> Any:
            optimizer = make_optimizer(self, config.lr, config.weight_decay)
            scheduler = make_scheduler(optimizer, config.lr, total_steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return Module()
