"""A loss that is no longer a number: the run ends there, and nothing is saved over good weights."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer

from shared.errors import RunError


class FiniteLoss:
    """Looks at the loss of every step, on a CPU at once. An accelerator would have to be waited
    for, so there the losses are looked at together: every so many steps, and before weights are
    saved."""

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.pending: list[tuple[Tensor, tuple]] = []

    def step(
        self, loss: Tensor, global_step: int, epoch: int, batch_idx: int, optimizer: Optimizer
    ) -> None:
        """Take in the loss of a batch, before its backward pass.

        Raises:
            RunError: this loss, or an earlier one not looked at yet, is NaN or infinite.
        """
        lr = optimizer.param_groups[0]["lr"]
        self.pending.append((loss.detach(), (global_step, epoch, batch_idx, lr)))
        if loss.device.type == "cpu" or len(self.pending) >= self.every_n_steps:
            self.check()

    def check(self) -> None:
        """Look at what was taken in. Raises as `step` does."""
        pending, self.pending = self.pending, []
        for loss, (global_step, epoch, batch_idx, lr) in pending:
            if not math.isfinite(loss.item()):
                raise RunError(
                    f"the loss became {loss.item():g} at step {global_step} (epoch {epoch}, batch "
                    f"{batch_idx}, learning rate {lr:.3g}); lower --lr or set --gradient_clip_val; "
                    "checkpoints hold the weights before"
                )
