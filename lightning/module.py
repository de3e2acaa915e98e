"""The steps of training: a LightningModule."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from shared.checkpoints import is_within_epoch
from shared.figures import add_figures
from shared.finite import FiniteLoss
from shared.model import compile_network, make_network, make_optimizer, make_scheduler
from shared.ranks import gather
from shared.seeds import (
    generator_state,
    metric_state,
    restore_generators,
    restore_metric,
    seed_epoch,
)


class ImageClassifier(pl.LightningModule):
    """A network and the steps that train it. A batch is images float32 [B, *in_shape] and labels
    int64 [B]."""

    def __init__(
        self,
        lr: float,
        weight_decay: float,
        dropout: float,
        max_epochs: int,
        accumulate_grad_batches: int,
        seed: int,
        width: int,
        compile: bool,
        model: str,
        in_shape: list[int],
        classes: list[str],
    ) -> None:
        super().__init__()
        # [checkpoint] As plain values: a dataclass in here could not be loaded with weights_only.
        self.save_hyperparameters()
        self.saved: dict[str, Any] | None = None
        self.net = make_network(model, in_shape, len(classes), dropout, width)
        # validate_args would look at every value, and so wait for the device at every batch.
        accuracy = dict(num_classes=len(classes), average="micro", validate_args=False)
        self.train_accuracy = MulticlassAccuracy(**accuracy)
        self.val_loss, self.val_accuracy = MeanMetric(), MulticlassAccuracy(**accuracy)
        self.test_loss, self.test_accuracy = MeanMetric(), MulticlassAccuracy(**accuracy)
        self.val_probabilities: list[Tensor] = []
        # [log] For the graph of the model in TensorBoard.
        self.example_input_array = torch.zeros(1, *in_shape)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def on_train_epoch_start(self) -> None:
        # [seed] Dropout masks that follow from the epoch are the same in a resumed run.
        seed_epoch(self.hparams.seed, self.current_epoch, self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.finite_loss.check()
        # [resume] What Lightning's checkpoint lacks, and a run stopped within an epoch needs.
        checkpoint["generators"] = generator_state(self.device)
        checkpoint["train_accuracy"] = metric_state(self.train_accuracy)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.saved = checkpoint

    def on_train_start(self) -> None:
        if self.hparams.compile:  # only now: the logger cannot draw the graph of a compiled one
            compile_network(self.net, self.device)
        self.finite_loss = FiniteLoss(self.trainer.log_every_n_steps)
        # [resume] Only now: what comes between loading and here may draw from the generators. And
        # only within an epoch: at its start both begin anew.
        if self.saved is not None and is_within_epoch(self.saved):
            restore_generators(self.saved["generators"], self.device)
            restore_metric(self.train_accuracy, self.saved["train_accuracy"])
        self.saved = None

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy.update(logits, labels)
        # [log] Called where its value will be written: at every step, it would cost more than the
        # rest of the Trainer.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.log("train/loss", loss)
        return loss

    def on_before_backward(self, loss: Tensor) -> None:
        batch_idx, optimizer = self.trainer.fit_loop.batch_idx, self.trainer.optimizers[0]
        self.finite_loss.step(loss, self.global_step, self.current_epoch, batch_idx, optimizer)

    def on_train_epoch_end(self) -> None:
        # [log] Averaged over the epoch and reset after it, as the metric object that it is.
        self.log("train/accuracy", self.train_accuracy)

    def on_validation_epoch_start(self) -> None:
        self.val_probabilities.clear()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        # Weighted by its size: the last batch is smaller, and a mean over batches would be wrong.
        self.val_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.val_accuracy.update(logits, labels)
        self.val_probabilities.append(logits.softmax(dim=1))
        self.log("val/loss", self.val_loss)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)

    def on_train_end(self) -> None:
        # [log] Drawn once, after the last validation: a figure takes as long as an epoch of digits.
        if self.val_probabilities and not self.trainer.fast_dev_run:
            data, step = self.trainer.datamodule, self.global_step - 1
            probabilities = gather(torch.cat(self.val_probabilities))  # [ddp] from all processes
            if self.trainer.is_global_zero:
                writer = self.logger.experiment
                add_figures(writer, data.splits["val"], probabilities, step)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.test_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.test_accuracy.update(logits, labels)
        self.log("test/loss", self.test_loss)
        self.log("test/accuracy", self.test_accuracy)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        return self(images).softmax(dim=1)

    def configure_optimizers(self) -> dict:
        optimizer = make_optimizer(self, self.hparams.lr, self.hparams.weight_decay)
        # Not trainer.estimated_stepping_batches: it makes the loader's iterator too
        # early, and a resumed loader forgets its place (Lightning-AI/pytorch-lightning#20550).
        data = self.trainer.datamodule
        images = math.ceil(len(data.splits["train"]) / self.trainer.world_size)  # [ddp] its share
        batches = math.ceil(images / data.hparams.batch_size)
        steps = math.ceil(batches / self.hparams.accumulate_grad_batches)
        total_steps = steps * self.hparams.max_epochs
        scheduler = make_scheduler(optimizer, self.hparams.lr, total_steps)
        # [schedule] Without "step" it would move once an epoch. The name is the tag in TensorBoard.
        schedule = {"scheduler": scheduler, "interval": "step", "name": "lr"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
