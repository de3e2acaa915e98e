"""Which of a run's processes this one is. torchrun and Lightning's launcher both say so in the
environment, long before anything is connected; alone, a process is rank 0 of 1."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


# How long a process waits for the others before it gives up; time enough for a download.
TIMEOUT = timedelta(minutes=5)


def rank() -> int:
    """The number of this process among all of the run."""
    # Lightning's launcher, which starts the processes of one machine, sets LOCAL_RANK alone.
    return int(os.environ.get("RANK", local_rank()))


def local_rank() -> int:
    """The number of this process among those on this machine: it chooses the device."""
    return int(os.environ.get("LOCAL_RANK", 0))


def started() -> tuple[int, int] | None:
    """The processes on each machine, and the machines, that torchrun started; None without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    each = int(os.environ["LOCAL_WORLD_SIZE"])
    return each, int(os.environ["WORLD_SIZE"]) // each


# How the name of a run begins whose processes the raw side started itself.
LAUNCHED = "launched-"


def launched() -> bool:
    """Whether the raw side itself started this process, by torchrun's launcher."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(LAUNCHED)


def run_id() -> str | None:
    """What stays the same when torchrun starts its processes again after one has died."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    # Without --rdzv_id it is "none" in every run; torchrun itself, the parent, lives on.
    return f"torchrun {os.getppid()}" if name == "none" else name


def gather(shard: Tensor) -> Tensor:
    """What all processes found about a split, in the order of the split; every process calls it.

    Args:
        shard: [n, ...], what this process found about the samples rank, rank + world_size, ...

    Returns:
        [N, ...] on the CPU, the same in every process.
    """
    import torch.distributed as dist

    shard = shard.cpu()
    if not dist.is_initialized():
        return shard
    shards: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shards, shard)
    whole = shard.new_empty((sum(map(len, shards)), *shard.shape[1:]))
    for number, part in enumerate(shards):
        whole[number :: len(shards)] = part
    return whole
