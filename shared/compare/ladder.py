"""What each feature of a Trainer costs: one rung of a ladder, over the net and the batches of
`limit.py`.

python -m shared.compare.ladder tensorboard --max_epochs 8

Takes a rung and the flags of train. Each rung is a program of its own: importing pytorch_lightning
slows down a hand-written loop in the same process, too.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from shared.compare import limit
from shared.config import Config, UsageError, fail, parse_args, run


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
    "loop": None,  # a hand-written loop, in which Lightning is not even imported
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


def fit(name: str, config: Config) -> None:
    rung = RUNGS[name]
    if rung is None:
        limit.fit(config)
        return
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
    from pytorch_lightning.loggers import TensorBoardLogger

    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    if not rung.keep_nvml:
        # Set by the import: without a GPU, every optimizer step then looks for its driver.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    batches = Batches(limit.resident_batches(config, limit.device_name(config)))
    callbacks: list[Any] = []
    if rung.bar:
        callbacks.append(TQDMProgressBar(refresh_rate=rung.bar))
    if rung.checkpoints:
        callbacks.append(ModelCheckpoint(dirpath=config.run_dir))
    trainer = pl.Trainer(
        accelerator=limit.device_name(config),
        max_epochs=config.max_epochs,
        logger=TensorBoardLogger(config.run_dir) if rung.tensorboard else False,
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
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                self.lr_schedulers().step()
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = make_optimizer(self, config.lr, config.weight_decay)
            scheduler = make_scheduler(optimizer, config.lr, total_steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return Module()


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in RUNGS:
        fail(f"{name or 'nothing'}: no such rung; give one of {', '.join(RUNGS)}", 2)
    config, _ = parse_args("shared.compare.ladder", sys.argv[2:])
    if config.run_dir is None:
        fail(str(UsageError("--run_dir: give a folder for what the rung writes")), 2)
    run(lambda: fit(name, config))


if __name__ == "__main__":
    main()
