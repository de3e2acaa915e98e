"""The network and the steps that train it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from raw_pytorch.metrics import MeanMetric
from shared.model import make_network, make_optimizer, make_scheduler


class ImageClassifier(torch.nn.Module):
    """A network and the steps that train it. A batch is images float32 [B, *in_shape] and labels
    int64 [B]. `network` is what `make_network` takes."""

    def __init__(self, lr: float, weight_decay: float, **network: Any) -> None:
        super().__init__()
        # [checkpoint] The arguments, from which a checkpoint makes the module again.
        self.hparams = dict(lr=lr, weight_decay=weight_decay, **network)
        self.net = make_network(**network)
        self.train_accuracy = MeanMetric()
        self.val_loss = MeanMetric()
        self.val_accuracy = MeanMetric()
        self.test_loss = MeanMetric()
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
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        self.val_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.val_accuracy.update(logits.argmax(dim=1) == labels)
        return logits

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.test_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.test_accuracy.update(logits.argmax(dim=1) == labels)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        return self(images).softmax(dim=1)

    def configure_optimizers(self, total_steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        optimizer = make_optimizer(self, self.hparams["lr"], self.hparams["weight_decay"])
        scheduler = make_scheduler(optimizer, self.hparams["lr"], total_steps)
        return optimizer, scheduler
