"""[device] Where the tensors live, chosen and moved by hand.

Lightning: Trainer(accelerator=..., deterministic=True)
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from shared.config import UsageError


def choose(accelerator: str) -> torch.device:
    """The device that `--accelerator` means, ready for use.

    Raises:
        UsageError: this machine lacks the accelerator.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "tpu": False,
    }
    if accelerator == "auto":
        accelerator = next((name for name, there in available.items() if there), "cpu")
    elif not available.get(accelerator, True):
        raise UsageError(
            f"--accelerator: {accelerator} is not available on this machine; use auto or cpu"
        )
    # [seed] Bit for bit the same on CUDA too, where the fastest algorithms are not; cuBLAS reads
    # the variable when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    return torch.device(accelerator, 0) if accelerator != "cpu" else torch.device("cpu")


def move(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels on the device. The copy does not wait if they come from pinned memory."""
    images, labels = batch
    return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
