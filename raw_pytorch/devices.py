"""[device] Where the tensors live, chosen and moved by hand.

Lightning: Trainer(accelerator=..., deterministic=True)
"""

import torch
from torch import Tensor

from shared import hardware, ranks
from shared.config import Config


def choose(config: Config) -> torch.device:
    """The device that `--accelerator` means, ready for use: each process has its own.

    Raises:
        UsageError: this machine lacks what the flags ask for.
    """
    accelerator = hardware.choose_accelerator(config)
    hardware.make_deterministic(config.threads)
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator == "tpu":
        import torch_xla

        return torch_xla.device()
    device = torch.device(accelerator, ranks.local_rank())
    if accelerator == "cuda":
        torch.cuda.set_device(device)  # [ddp] or every process would also use some of the first
    return device


def mark_step(device: torch.device) -> None:
    """On a TPU, compute what the step has only recorded so far: XLA compiles a step as a whole."""
    if device.type == "xla":
        import torch_xla

        torch_xla.sync()


def move(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels on the device. The copy does not wait if they come from pinned memory."""
    images, labels = batch
    return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
