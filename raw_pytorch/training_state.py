"""[checkpoint] [resume] Everything that a run needs to resume, in one place.

Lightning: the Trainer collects it, callbacks add to it by state_dict() and on_save_checkpoint()
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from raw_pytorch import distributed, lightning_format
from raw_pytorch.data import ImageData
from raw_pytorch.early_stopping import EarlyStopping
from raw_pytorch.module import ImageClassifier
from shared.checkpoint_format import (
    DATA_HPARAMS,
    DATA_STATE,
    LIGHTNING_VERSION,
    MODULE_HPARAMS,
)
from shared.config import Config
from shared.finite import FiniteLoss
from shared.seeds import generator_state, restore_generators


@dataclass
class TrainingState:
    """Everything that a run needs to resume, and where in the run it is."""

    config: Config
    run_dir: Path
    data: ImageData
    module: ImageClassifier
    optimizer: Optimizer
    scheduler: LRScheduler
    scaler: torch.amp.GradScaler
    early_stopping: EarlyStopping
    finite_loss: FiniteLoss
    epoch: int = 0
    """The epoch that runs; between two epochs, the next one."""
    batch_idx: int = 0
    """Batches of this epoch that are done."""
    global_step: int = 0
    """Optimizer steps that are done."""
    best_val_loss: float = math.inf
    """The least validation loss; infinite while there is no best.ckpt in the run folder."""

    validated: dict[str, float] = field(default_factory=dict)
    """`val/loss` and `val/accuracy` of the last validation, empty before the first."""

    def is_best(self, val_loss: float) -> bool:
        """Whether no epoch had a smaller validation loss, which is remembered."""
        is_best = val_loss < self.best_val_loss
        self.best_val_loss = min(val_loss, self.best_val_loss)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint. Every process calls this, since some of it is gathered.

        Raises:
            RunError: a loss was NaN or infinite, so that the weights are not worth keeping.
        """
        self.finite_loss.check()
        weights = distributed.unwrap(self.module.net).state_dict()
        place = {
            "epoch": self.epoch,
            "batch_idx": self.batch_idx,
            "world_size": distributed.world_size(),
        }
        return {
            "epoch": self.epoch if self.batch_idx > 0 else self.epoch - 1,
            "global_step": self.global_step,
            "state_dict": {f"net.{name}": tensor for name, tensor in weights.items()},
            "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [self.scheduler.state_dict()],
            MODULE_HPARAMS: self.module.hparams,
            DATA_HPARAMS: self.data.hparams,
            DATA_STATE: place,
            "recipe": self.config.recipe(),
            "validated": self.validated,
            "generators": generator_state(self.data.device),
            "train_accuracy": lightning_format.mean(self.module.train_accuracy),
            **lightning_format.scaler(self.scaler),
            "pytorch-lightning_version": LIGHTNING_VERSION,
            "callbacks": lightning_format.callbacks(
                self.best_val_loss, self.run_dir / "checkpoints", self.early_stopping
            ),
            "loops": lightning_format.loops(
                place,
                len(self.data.train_loader),
                self.global_step,
                self.config.accumulate_grad_batches,
            ),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what a checkpoint of either side holds."""
        self.module.load_state_dict(saved["state_dict"])
        self.optimizer.load_state_dict(saved["optimizer_states"][0])
        self.scheduler.load_state_dict(saved["lr_schedulers"][0])
        self.epoch, self.batch_idx = saved[DATA_STATE]["epoch"], saved[DATA_STATE]["batch_idx"]
        self.global_step = saved["global_step"]
        self.validated = saved["validated"]
        folder = self.run_dir / "checkpoints"
        self.best_val_loss = lightning_format.best_val_loss(saved, folder)
        lightning_format.restore_early_stopping(self.early_stopping, saved)
        lightning_format.restore_scaler(self.scaler, saved)
        if self.batch_idx > 0:  # at the start of an epoch, both begin anew
            lightning_format.restore_mean(self.module.train_accuracy, saved["train_accuracy"])
            restore_generators(saved["generators"], self.data.device)
