"""[precision] Mixed precision, by hand.

Lightning: Trainer(precision="bf16-mixed")
"""

import torch


class Precision:
    """Chooses the dtype of the forward pass, and scales the loss where that dtype underflows.

    With `16-mixed` the order is: scale, backward, unscale, clip, step, update. Clipping before
    unscaling would clip gradients some 65,536 times too large.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self.device, self.enabled = device.type, precision != "32-true"
        self.dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
        # A scaler that is switched off hands the loss and the optimizer through as they are.
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")

    def autocast(self) -> torch.autocast:
        """For the forward pass and the loss, in evaluation too. Backward stays outside."""
        # Without the cache, as Lightning: weights cast once would be stale after the next step.
        return torch.autocast(
            self.device, dtype=self.dtype, enabled=self.enabled, cache_enabled=False
        )
