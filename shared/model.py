"""The network, and the recipe that trains it: optimizer and schedule. The science, which the two
sides share; the engineering around it is what they differ in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from shared import own_model


class ConvNet(nn.Sequential):
    """Three convolutions with batch norm and one linear layer: 29,434 parameters at width 16.

    The first convolution halves the picture, so the costly layers see 14×14 and 7×7 pixels: most of
    what a network of this kind costs on a CPU is saved there, and no accuracy is lost. Pixels are
    pooled before they are normalized, which leaves a quarter of them to normalize: a step takes a
    fifth less time.

    Args:
        dropout: probability of dropping a feature before the last layer, from 0 to below 1.
        width: channels of the first convolution; the others have two and four times as many.
        in_shape: channels, height and width of a picture.
        num_classes: how many logits come out.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        width: int = 16,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
    ) -> None:
        channels, *sides = in_shape
        # The pixels that the three layers with a stride leave: 14, 7 and 3 of 28.
        height, across = (((side + 1) // 2 // 2 - 1) // 2 for side in sides)
        super().__init__(
            nn.Conv2d(channels, width, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, kernel_size=3, padding=1, bias=False),
            nn.MaxPool2d(3, stride=2),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * width * height * across, num_classes),
        )
        # The channels of a pixel beside each other, as the fast convolutions want them: a step
        # takes a third less time on a CPU. What comes out of a layer has the order of its weights.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, *in_shape] to logits [B, num_classes]."""
        return super().forward(images)


def make_network(
    model: str, in_shape: Sequence[int], classes: Sequence[str], dropout: float, width: int
) -> nn.Module:
    """The network that `--model` names, from images float32 [B, *in_shape] to a logit for each of
    the `classes`, [B, len(classes)].

    Raises:
        UsageError, RunError: as `shared.own_model.load`.
    """
    if model == "ConvNet":
        return ConvNet(dropout, width, in_shape, len(classes))
    return own_model.load(
        model, in_shape=in_shape, num_classes=len(classes), dropout=dropout, width=width
    )


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizer:
    """AdamW over all parameters (Loshchilov and Hutter, 2019), on the device they are on."""
    device = next(model.parameters()).device.type
    # One pass over each parameter instead of a dozen: a third of the time.
    fused = device in ("cpu", "cuda")
    optimizer = AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=fused)
    # A fused one offers to unscale gradients within its step, which is after they were clipped;
    # Lightning refuses to clip then. Not offered, it is the loss scaler that does it, before.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def make_scheduler(optimizer: Optimizer, lr: float, total_steps: int) -> LRScheduler:
    """One rise to `lr` and one fall to almost nothing (Smith and Topin, 2018).

    Args:
        total_steps: optimizer steps of the whole run; the schedule steps once after each.
    """
    # [precision] A loss scaler skips the first steps, and the schedule goes on: no mistake of ours.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    return OneCycleLR(optimizer, max_lr=lr, total_steps=total_steps)


def compile_network(net: nn.Module, device: torch.device) -> None:
    """Compile in place, which leaves the names of the weights as they are."""
    # It would say that it found no GPU, where CUDA's compiler is installed without one.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # On a GPU as CUDA graphs: to start one kernel after another costs more than this network does.
    net.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
