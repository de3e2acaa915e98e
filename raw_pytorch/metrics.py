"""[log] Averages over a whole split and over all processes, counted by hand.

Lightning: MeanMetric() and MulticlassAccuracy(...) of torchmetrics, which self.log computes and
resets at the end of each epoch
"""

import torch
from torch import Tensor

from raw_pytorch import distributed


class MeanMetric:
    """A mean over samples, from the means over batches."""

    total: Tensor
    weight: int

    def __init__(self) -> None:
        self.reset()

    def update(self, value: Tensor, weight: int) -> None:
        """Take in the mean `value`, float [], of a batch of `weight` samples."""
        # Weighted: the last batch is smaller, and a mean over batches would be wrong.
        self.total = self.total + value.detach() * weight
        self.weight += weight

    def compute(self) -> float:
        """The mean over all samples of all processes; every process calls it."""
        total = distributed.all_sum(self.total)
        weight = distributed.all_sum(torch.tensor(float(self.weight), device=total.device))
        return (total / weight).item()

    def reset(self) -> None:
        self.total, self.weight = torch.tensor(0.0), 0


class MulticlassAccuracy:
    """The share of the samples whose largest logit is that of their label."""

    correct: Tensor
    total: int

    def __init__(self) -> None:
        self.reset()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch: logits [B, 10] and labels int64 [B]."""
        # A tensor, and read at the end of the epoch only: reading it waits for the device.
        self.correct = self.correct + (logits.argmax(dim=1) == labels).sum()
        self.total += len(labels)

    def compute(self) -> float:
        """The share over all samples of all processes; every process calls it."""
        correct, total = self.counts()
        return (torch.tensor(float(correct)) / total).item()

    def counts(self) -> tuple[int, int]:
        """Right answers and all samples, of all processes together; every process calls it."""
        counts = torch.stack([self.correct, torch.full_like(self.correct, self.total)])
        correct, total = distributed.all_sum(counts).tolist()
        return correct, total

    def reset(self) -> None:
        self.correct, self.total = torch.tensor(0), 0
