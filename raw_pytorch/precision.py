"""[precision] Mixed precision, by hand.

Lightning: Trainer(precision="bf16-mixed")
"""

from __future__ import annotations

from typing import Any

import torch

from shared.config import UsageError


class Precision:
    """Chooses the dtype of the forward pass, and scales the loss where that dtype underflows.

    With `16-mixed` the order is: scale, backward, unscale, clip, step, update. Clipping before
    unscaling would clip gradients some 65,536 times too large.

    Raises:
        UsageError: `16-mixed` without a GPU, or any but `32-true` on a TPU.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        if precision == "16-mixed" and device.type != "cuda":
            raise UsageError("--precision: 16-mixed needs a CUDA GPU; use bf16-mixed or 32-true")
        if precision != "32-true" and device.type == "xla":
            raise UsageError(f"--precision: got {precision}; a TPU takes 32-true only")
        self.device, self.enabled = device.type, precision != "32-true"
        self.dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
        # Switched off, it hands the loss and the optimizer through as they are.
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")

    def autocast(self) -> torch.autocast:
        """For the forward pass and the loss, in evaluation too. Backward stays outside."""
        # Without the cache, as Lightning: weights cast once would be stale after the next step.
        return torch.autocast(
            self.device, dtype=self.dtype, enabled=self.enabled, cache_enabled=False
        )

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.scaler.load_state_dict(state)
