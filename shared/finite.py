"""A loss that is no longer a number: the run ends there, and nothing is saved over good weights."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer

from shared.errors import RunError

ADVICE = "lower --lr or set --gradient_clip_val; checkpoints hold the weights before"


class FiniteLoss:
    """Looks at the loss of every batch, on a CPU at once. An accelerator would have to be waited
    for, so there the losses are looked at together: every so many batches, and before weights are
    saved.

    Args:
        optimizer: the error line names its learning rate.
        every_n: the number of losses that are looked at together.
    """

    def __init__(self, optimizer: Optimizer, every_n: int) -> None:
        self.optimizer = optimizer
        self.every_n = every_n
        self.pending: list[tuple[Tensor, str]] = []

    def step(self, loss: Tensor, epoch: int, batch_idx: int, global_step: int) -> None:
        """Take in the loss of a batch, before its backward pass.

        Raises:
            RunError: this loss, or an earlier one not looked at yet, is NaN or infinite.
        """
        lr = self.optimizer.param_groups[0]["lr"]
        place = f"step {global_step} (epoch {epoch}, batch {batch_idx}, learning rate {lr:.3g})"
        self.pending.append((loss.detach(), place))
        if loss.device.type == "cpu" or len(self.pending) >= self.every_n:
            self.check()

    def check(self) -> None:
        """Look at what was taken in. Raises as `step` does."""
        pending, self.pending = self.pending, []
        for loss, place in pending:
            if not math.isfinite(loss.item()):
                raise RunError(f"the loss became {loss.item():g} at {place}; {ADVICE}")


def check_val_loss(val_loss: float, epoch: int) -> None:
    """Look at the validation loss of an epoch before the epoch's checkpoints are written.

    Raises:
        RunError: the loss is NaN or infinite.
    """
    if not math.isfinite(val_loss):
        raise RunError(f"the validation loss became {val_loss:g} in epoch {epoch}; {ADVICE}")
