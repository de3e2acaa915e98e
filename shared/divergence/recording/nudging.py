"""Weights moved by one rounding, to see how large a rounding becomes in a program."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..fingerprints import is_plain, signs
from .optimizers import Optimizers
from .record import Record

STRIDES = 7919, 104729  # primes, so that each step and each tensor has signs of its own


class Nudges:
    """Before the first forward pass of every step from `step` on, moves each weight of the model by
    `size` of itself, up or down at random; by one rounding of its dtype where that is more. Other
    orders of terms round anew at every step as well.

    Args:
        step: counted from 1; 0 moves the weights of an evaluation too.
        size: relative.
    """

    def __init__(self, record: Record, optimizers: Optimizers, step: int, size: float) -> None:
        self.record, self.optimizers = record, optimizers
        self.step, self.size = step, size
        self.moved: dict[int, int] = {}  # the last step of each tensor, by `id`

    def before_forward(self, module: nn.Module) -> None:
        step = self.record.step + 1
        if step < self.step or (self.step and not torch.is_grad_enabled()):
            return
        count = 0
        for number, parameter in enumerate(module.parameters()):
            if self.moved.get(id(parameter)) == step or not is_plain(parameter):
                continue
            if parameter.is_floating_point() and parameter.layout == torch.strided:
                size = self.size if step == max(self.step, 1) else 0.0
                nudge(parameter, size, step * STRIDES[0] + number * STRIDES[1])
                self.moved[id(parameter)] = step
                count += 1
        if count:
            self.optimizers.settle()
            self.record.write("nudged", count=count)


def nudge(parameter: Tensor, size: float, shift: int) -> None:
    """Multiply each value by 1 + `size` or 1 - `size`, where `size` is at least one rounding.

    Without a generator of torch; and by way of `.data`, so that a graph which holds the tensor goes
    on to its backward pass.
    """
    size = max(size, torch.finfo(parameter.dtype).eps)
    pattern = signs().reshape(-1)
    pattern = pattern.roll(shift % len(pattern)).to(parameter.device, parameter.dtype)
    count = parameter.numel()
    factors = 1 + size * pattern.repeat(-(-count // len(pattern)))[:count]
    parameter.data.mul_(factors.reshape(parameter.shape))
