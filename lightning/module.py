"""The network and the steps that train it."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from shared.model import make_network, make_optimizer, make_scheduler


class ImageClassifier(pl.LightningModule):
    """A network and the steps that train it. A batch is images float32 [B, *in_shape] and labels
    int64 [B]. `network` is what `make_network` takes."""

    def __init__(self, lr: float, weight_decay: float, **network: Any) -> None:
        super().__init__()
        # [checkpoint] The arguments, from which a checkpoint makes the module again.
        self.save_hyperparameters()
        self.net = make_network(**network)
        self.train_accuracy = MeanMetric()
        # [log] Without the argument, it would leave out a batch whose loss is NaN.
        self.val_loss = MeanMetric(nan_strategy=float("nan"))
        self.val_accuracy = MeanMetric()
        self.test_loss = MeanMetric(nan_strategy=float("nan"))
        self.test_accuracy = MeanMetric()
        # [log] The graph of the model in TensorBoard is drawn with it.
        self.example_input_array = torch.zeros(1, *network["in_shape"])

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy.update(logits.argmax(dim=1) == labels)
        self.log("train/loss", loss, prog_bar=True)  # [log] every log_every_n_steps
        # [log] Once an epoch.
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        self.val_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.val_accuracy.update(logits.argmax(dim=1) == labels)
        self.log("val/loss", self.val_loss)  # [log] averaged over the epoch
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)  # [log] [progress] and shown
        return logits

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.test_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.test_accuracy.update(logits.argmax(dim=1) == labels)
        self.log("test/loss", self.test_loss)  # [log] averaged over the split
        self.log("test/accuracy", self.test_accuracy)  # [log] averaged over the split

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        return self(images).softmax(dim=1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = make_optimizer(self, self.hparams["lr"], self.hparams["weight_decay"])
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = make_scheduler(optimizer, self.hparams["lr"], total_steps)
        # [schedule] Without "step", the Trainer would move the rate once an epoch.
        schedule: LRSchedulerConfigType = {"scheduler": scheduler, "interval": "step", "name": "lr"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
