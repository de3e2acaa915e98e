"""[device] Where the tensors live, chosen and moved by hand.

Lightning: Trainer(accelerator=..., deterministic=True)
"""

from __future__ import annotations

import torch
from torch import Tensor

from raw_pytorch.module import ImageClassifier
from shared import hardware, model, ranks
from shared.config import Config


def choose(config: Config) -> torch.device:
    """The device that `--accelerator` means, ready for use: in each process its own.

    Raises:
        UsageError: as `hardware.choose_accelerator`.
    """
    accelerator = hardware.choose_accelerator(config)
    hardware.make_deterministic(config.threads)  # [seed] on CUDA, too
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator == "tpu":
        import torch_xla

        return torch_xla.device()
    device = torch.device(accelerator, ranks.local_rank())
    if accelerator == "cuda":
        torch.cuda.set_device(device)  # [ddp] or every process would also use some of the first
    return device


def compile_network(module: ImageClassifier, device: torch.device) -> None:
    """Compile the network within the module, if `--compile` asks for it."""
    if module.hparams["compile"]:
        model.compile_network(module.net, device)


def mark_step(device: torch.device) -> None:
    """On a TPU, compute what the step has only recorded so far: XLA compiles it as a whole."""
    if device.type == "xla":
        import torch_xla

        torch_xla.sync()


def move(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels on the device. The copy does not wait if they come from pinned memory."""
    images, labels = batch
    return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
