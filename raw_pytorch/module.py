"""The steps of training: a plain nn.Module."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from shared.model import make_network, make_optimizer, make_scheduler


class ImageClassifier(nn.Module):
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
        self.hparams = dict(
            lr=lr,
            weight_decay=weight_decay,
            dropout=dropout,
            max_epochs=max_epochs,
            accumulate_grad_batches=accumulate_grad_batches,
            seed=seed,
            width=width,
            compile=compile,
            model=model,
            in_shape=in_shape,
            classes=classes,
        )
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

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy.update(logits, labels)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        # Weighted by its size: the last batch is smaller, and a mean over batches would be wrong.
        self.val_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.val_accuracy.update(logits, labels)
        self.val_probabilities.append(logits.softmax(dim=1))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.test_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.test_accuracy.update(logits, labels)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        return self(images).softmax(dim=1)

    def configure_optimizers(self, batches: int) -> tuple[Optimizer, LRScheduler]:
        optimizer = make_optimizer(self, self.hparams["lr"], self.hparams["weight_decay"])
        # [schedule] The loop steps it once after every optimizer step.
        steps = math.ceil(batches / self.hparams["accumulate_grad_batches"])
        total_steps = steps * self.hparams["max_epochs"]
        scheduler = make_scheduler(optimizer, self.hparams["lr"], total_steps)
        return optimizer, scheduler
