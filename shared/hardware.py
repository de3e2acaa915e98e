"""Where a run computes: what this machine has, and whether it has what the run asks for. Both sides
ask here, so that both refuse in the same words."""

from __future__ import annotations

import os

import torch

from shared import ranks
from shared.config import Config
from shared.errors import UsageError


def choose_accelerator(config: Config) -> str:
    """The kind of device that `--accelerator` means: `cpu`, `cuda`, `mps` or `tpu`.

    Raises:
        UsageError: this machine lacks it or has fewer than `--devices`, the other machines have to
            be started first, the device cannot compute with `--precision`, or the system allows too
            few open files for `--num_workers`.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "tpu": has_tpu(),
    }
    _allow_open_files(config.num_workers)
    kind: str = config.accelerator
    if kind == "auto":
        found = _accelerator_of_torch() or "tpu"
        # It may be of a kind that --accelerator does not know.
        kind = found if available.get(found) else "cpu"
    if not available[kind]:
        raise UsageError(f"--accelerator: {kind} is not available on this machine; use auto or cpu")
    count = {"cuda": torch.cuda.device_count(), "cpu": config.devices}.get(kind, 1)
    if kind != "cuda":
        # Lightning's import sets it: without a GPU, every optimizer step would look for a driver.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if config.devices > count:
        raise UsageError(
            f"--devices: got {config.devices}; this machine has {count} of kind {kind}"
        )
    if config.num_nodes > 1 and not ranks.started():
        raise UsageError("--num_nodes: got more than 1; start the program by torchrun on each node")
    if config.precision == "16-mixed" and kind != "cuda":
        # Lightning would warn, and take bf16-mixed.
        raise UsageError("--precision: 16-mixed needs a CUDA GPU; use bf16-mixed or 32-true")
    if config.precision != "32-true" and kind == "tpu":
        raise UsageError(f"--precision: got {config.precision}; a TPU takes 32-true only")
    return kind


def _allow_open_files(num_workers: int) -> None:
    """Processes that load batches hand them over in open files, two loaders' at a time. With too
    few, torch would wait for ever, or say so in a page."""
    if num_workers == 0 or os.name == "nt":
        return
    import resource

    needed = 60 + 20 * num_workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    if hard in limits and hard < needed:
        raise UsageError(
            f"--num_workers: {num_workers} need {needed} open files, and ulimit -n allows {hard}; "
            "lower --num_workers or raise the limit"
        )
    if soft in limits and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _accelerator_of_torch() -> str | None:
    if not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    return device.type if device else None


def has_tpu() -> bool:
    """Whether torch_xla is installed and finds one."""
    try:
        from torch_xla._internal import tpu

        return tpu.num_available_devices() > 0
    except (ImportError, ValueError, AssertionError, OSError):  # what it raises where there is none
        return False


def cores() -> int:
    """The processor cores that this process may use, which may be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_deterministic(threads: int) -> None:
    """Make every operation give the same bits each time, on CUDA too, where the fastest algorithms
    do not.

    Args:
        threads: of this process on the CPU; sums are taken in another order with another number.
    """
    # cuBLAS reads the variable when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # With this on, torch also fills memory that is about to be written anyway: 3 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
