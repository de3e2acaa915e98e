"""The network, and the recipe that trains it: optimizer and schedule. The science, which the two
sides share; the engineering around it is what they differ in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


class ConvNet(nn.Sequential):
    """Three convolutions with batch norm and one linear layer: 29,434 parameters.

    The first convolution halves the picture, so the costly layers see 14×14 and 7×7 pixels: most of
    what a network of this kind costs on a CPU is saved there, and no accuracy is lost.

    Args:
        dropout: probability of dropping a feature before the last layer, from 0 to below 1.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Conv2d(1, 16, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * 3 * 3, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, 1, 28, 28] to logits [B, 10]."""
        return super().forward(images)


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizer:
    """AdamW over all parameters (Loshchilov and Hutter, 2019)."""
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def make_scheduler(optimizer: Optimizer, lr: float, total_steps: int) -> LRScheduler:
    """One rise to `lr` and one fall to almost nothing (Smith and Topin, 2018).

    Args:
        total_steps: optimizer steps of the whole run; the schedule steps once after each.
    """
    return OneCycleLR(optimizer, max_lr=lr, total_steps=total_steps)
