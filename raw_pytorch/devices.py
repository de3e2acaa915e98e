"""[device] Where the tensors live, chosen and moved by hand.

Lightning: Trainer(accelerator=..., deterministic=True)
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from raw_pytorch.module import ImageClassifier
from shared import model, ranks
from shared.config import Config, UsageError


def choose(config: Config) -> torch.device:
    """The device that `--accelerator` means, ready for use: in each process its own.

    Raises:
        UsageError: this machine lacks the accelerator, or has fewer than `--devices`.
    """
    accelerator = config.accelerator
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "tpu": has_tpu(),
    }
    if accelerator == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        kind = found.type if found else "tpu"
        # Of other kinds, --accelerator knows nothing.
        accelerator = kind if available.get(kind) else "cpu"
    elif not available.get(accelerator, True):
        raise UsageError(
            f"--accelerator: {accelerator} is not available on this machine; use auto or cpu"
        )
    count = {"cuda": torch.cuda.device_count(), "cpu": config.devices}.get(accelerator, 1)
    if config.devices > count:
        raise UsageError(
            f"--devices: got {config.devices}; this machine has {count} of kind {accelerator}"
        )
    # [seed] Bit for bit the same on CUDA too, where the fastest algorithms are not; cuBLAS reads
    # the variable when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Which would also fill whatever is about to be written anyway: 3 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(config.threads)
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator == "tpu":
        import torch_xla

        return torch_xla.device()
    device = torch.device(accelerator, ranks.local_rank())
    if accelerator == "cuda":
        torch.cuda.set_device(device)  # [ddp] or every process would also use some of the first
    return device


def cores() -> int:
    """The processor cores that this process may use, which may be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_tpu() -> bool:
    """Whether torch_xla is installed and finds one."""
    try:
        from torch_xla._internal import tpu

        return tpu.num_available_devices() > 0
    except (ImportError, ValueError, AssertionError, OSError):  # what it raises where there is none
        return False


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
