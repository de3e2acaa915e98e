"""[ddp] Several processes that train one model, by hand.

Lightning: Trainer(devices=..., num_nodes=..., strategy="ddp", use_distributed_sampler=...)
"""

import atexit
import logging
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from shared import hardware, ranks, signals
from shared.config import Config


def launch(config: Config) -> bool:
    """Run the same command once for each device, unless torchrun has done so or one will do.

    Returns:
        False where the caller has to do the work itself.

    Raises:
        UsageError: this machine lacks what the flags ask for.
        SystemExit: with the status of the process that failed first.
    """
    if ranks.started() or config.world_size == 1:
        return False
    hardware.choose_accelerator(config)
    # A process that fails says why by itself; torchrun's own report would be a page long.
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.cores() // config.devices)))
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(n.name for n in signals.caught())
    options = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config.devices,
        run_id=f"{ranks.LAUNCHED}{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(options, sys.executable)("-m", "raw_pytorch", *sys.argv[1:])
    except ChildFailedError as error:
        raise SystemExit(max(1, error.get_first_failure()[1].exitcode)) from None
    except SignalException:
        raise SystemExit(130) from None
    return True


def start(device: torch.device) -> None:
    """Connect the processes that torchrun started: gloo between CPUs, nccl between GPUs."""
    if not ranks.started() or int(os.environ["WORLD_SIZE"]) == 1 or dist.is_initialized():
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=ranks.TIMEOUT)
    atexit.register(dist.destroy_process_group)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait until all are here."""
    if dist.is_initialized():
        dist.barrier()


def broadcast(value: Any) -> Any:
    """What rank zero has."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process. Every process asks at the same step."""
    if not dist.is_initialized():
        return flag
    answer = torch.tensor(int(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(answer, dist.ReduceOp.MAX)
    return bool(answer.item())


def all_sum(value: Tensor) -> Tensor:
    """The sum over all processes, in the order of their ranks; every process calls this."""
    if not dist.is_initialized():
        return value
    value = value.to("cuda" if dist.get_backend() == "nccl" else "cpu")
    values = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(values, value)
    return torch.stack(values).sum(dim=0)


def wrap(network: nn.Module, device: torch.device) -> Any:
    """The network, in several processes with gradients averaged over all of them.

    The wrapper also hands the batch norm statistics of the first process to all others before each
    forward pass, in evaluation too.
    """
    if not dist.is_initialized():
        return network
    return DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)


def unwrap(network: nn.Module) -> nn.Module:
    """The network itself: the wrapper would add a word to the names of all weights."""
    return network.module if isinstance(network, DistributedDataParallel) else network
