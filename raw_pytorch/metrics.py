"""[log] Averages over a whole split and over all processes, counted by hand.

Lightning: MeanMetric() of torchmetrics, which self.log computes and resets at the end of each epoch
"""

import torch
from torch import Tensor

from raw_pytorch import distributed


class MeanMetric:
    """A mean over samples."""

    total: Tensor
    weight: int

    def __init__(self) -> None:
        self.reset()

    def update(self, value: Tensor, weight: int = 1) -> None:
        """Take in a value of each sample, [B], or the mean of a batch of `weight` samples, []."""
        # A tensor, and read at the end of the epoch only: reading it waits for the device.
        # Weighted: the last batch is smaller, and a mean over batches would be wrong.
        self.total = self.total + (value.detach() * weight).sum()
        self.weight += weight * value.numel()

    def compute(self) -> float:
        """The mean over all samples of all processes; every process calls it."""
        total, weight = self.sums()
        return (total / weight).item()

    def sums(self) -> tuple[Tensor, Tensor]:
        """The sum and the weight, float32 [], of all processes; every process calls it."""
        weight = torch.tensor(float(self.weight), device=self.total.device)
        return distributed.all_sum(self.total), distributed.all_sum(weight)

    def reset(self) -> None:
        self.total, self.weight = torch.tensor(0.0), 0
