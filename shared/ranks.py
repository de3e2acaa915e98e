"""Which of a run's processes this one is. torchrun says so in the environment, and so does the
command that starts a process for each of its devices; alone, a process is rank 0 of 1."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


# How long a process waits for the others before it gives up; time enough for a download.
TIMEOUT = timedelta(minutes=5)

# How the name of a run begins whose processes the raw side started itself.
LAUNCHED = "launched-"
# In the environment of the processes that a command starts for its devices: the command's own
# number. A shell keeps variables, and hands them to programs whose parent has another number.
LAUNCHER = "LAUNCHER_PID"

# What torchrun and Lightning's launcher tell a process of its place, and what Lightning believes of
# clusters and takes as arguments of its Trainer.
PLACE = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT",
    "STANDALONE_PORT", "TORCHELASTIC_",
)  # fmt: skip
CLUSTERS = ("SLURM_", "LSB_", "JSM_NAMESPACE_", "PL_")


def forget_leftovers() -> None:
    """Remove from the environment what another job has left there. Each program calls this first,
    before libraries read it.

    Only torchrun is believed to have started several processes, and a command that has started them
    itself. A shell within a Slurm job, or one that was a worker yesterday, has variables of the
    same names, by which a run would wait for processes that nobody starts.

    Raises:
        ValueError: srun has started several of these programs, which know nothing of each other.
    """
    is_torchruns = bool(_torchrun_id())
    if not is_torchruns and os.environ.get("SLURM_TASK_PID") == str(os.getpid()):
        tasks = _number("SLURM_STEP_NUM_TASKS") or 1
        if tasks > 1:
            os.environ["RANK"] = os.environ.get("SLURM_PROCID", "0")  # the first speaks for all
            raise ValueError(
                f"srun: it started {tasks} tasks, each of which would train alone; start one on "
                "each machine, which is torchrun with this program"
            )
    _remove(CLUSTERS)
    if not is_torchruns and not launched():
        _remove(PLACE)
        os.environ[LAUNCHER] = str(os.getpid())
        # The processes of one machine talk to each other there, whatever its name means elsewhere.
        for _, interface in socket.if_nameindex():
            if interface in ("lo", "lo0"):
                os.environ["GLOO_SOCKET_IFNAME"] = interface


def _remove(names: tuple[str, ...]) -> None:
    for name in list(os.environ):
        if name in names or any(name.startswith(n) for n in names if n.endswith("_")):
            del os.environ[name]


def _torchrun_id() -> str:
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return "" if name.startswith(LAUNCHED) else name


def _number(name: str) -> int | None:
    """A whole number of the environment; None if it is missing or something else."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None


def rank() -> int:
    """The number of this process among all of the run."""
    # Lightning's launcher, which starts the processes of one machine, sets LOCAL_RANK alone.
    number = _number("RANK")
    return local_rank() if number is None else number


def local_rank() -> int:
    """The number of this process among those on this machine: it chooses the device."""
    return _number("LOCAL_RANK") or 0


def started() -> tuple[int, int] | None:
    """The processes on each machine, and the machines, that torchrun started; None without it.

    Raises:
        ValueError: what the environment says is not what torchrun sets; the message names the
            variable.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    all_of_them = _checked("WORLD_SIZE", 1, MOST)
    each = _checked("LOCAL_WORLD_SIZE", 1, all_of_them)
    _checked("RANK", 0, all_of_them - 1)
    _checked("LOCAL_RANK", 0, each - 1)
    if all_of_them > 1:
        _checked("MASTER_PORT", 1, 65535)
        if not os.environ.get("MASTER_ADDR", "").strip():
            raise ValueError("MASTER_ADDR: not set; torchrun sets it to the name of a machine")
    return each, all_of_them // each


MOST = 1024 * 1024


def _checked(name: str, low: int, high: int) -> int:
    number = _number(name)
    if number is None or not low <= number <= high:
        got = f"got {os.environ[name]!r}"[:60] if name in os.environ else "not set"
        _remove(("RANK", "LOCAL_RANK"))  # or a process that is not the first would not say it
        raise ValueError(
            f"{name}: {got}; torchrun sets it to a whole number from {low} to {high}; "
            "start the program by torchrun, or unset TORCHELASTIC_RUN_ID"
        )
    return number


def launched() -> bool:
    """Whether a command of this project started this process, as one of several."""
    return "LOCAL_RANK" in os.environ and os.environ.get(LAUNCHER) == str(os.getppid())


def meeting_point() -> str:
    """What to say when the processes of a run did not find each other."""
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    others = (_number("WORLD_SIZE") or 2) - 1
    return f"waited at {place} for {others} more of this run's processes, which did not come"


def restarted() -> bool:
    """Whether torchrun has started this process in place of one that died."""
    return bool(_number("TORCHELASTIC_RESTART_COUNT"))


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
