"""From a dataset to batches: the order in which an epoch visits its pictures, and each process's
share of them."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from shared.data.datasets import ImageDataset
from shared.errors import RunError, counted

Batch = tuple[Tensor, Tensor]


def collate(batch: Any) -> Batch:
    """`__getitems__` has made the batch already. A named function, since workers pickle it."""
    return batch


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader whose epoch can be taken up again at any batch.

    The order of an epoch follows from (seed, epoch) alone, so its place is two numbers. Without
    `state_dict` and `load_state_dict`, Lightning would warn that it cannot resume within an epoch.
    """

    sampler: ResumableSampler
    batch_size: int
    batch_idx = 0  # batches of the current epoch handed out so far
    start_batch = 0  # where the next iterator starts

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a counted one
        self.batch_idx, self.start_batch = self.start_batch, 0
        self.sampler.start = self.batch_idx * self.batch_size
        # The iterator is made here and not at the first `next`, which would be later than the
        # moment its workers start in a plain DataLoader.
        return self._count(super().__iter__())

    def _count(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.batch_idx += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from; at the end of an epoch, the start of the next."""
        epoch_done = self.batch_idx == len(self)
        epoch = self.sampler.epoch
        return {
            "epoch": epoch + epoch_done,
            "batch_idx": 0 if epoch_done else self.batch_idx,
            "world_size": self.sampler.num_replicas,
        }

    def start_at(self, epoch: int, batch_idx: int) -> None:
        """Begin the next iteration with this batch of this epoch."""
        self.sampler.set_epoch(epoch)
        self.start_batch = batch_idx

    def load_state_dict(self, state: dict[str, int]) -> None:
        # Before the iterator is made: with workers, Lightning 2.6.6 makes it too early to hear of
        # the epoch from `set_epoch` (Lightning-AI/pytorch-lightning#21938).
        self.start_at(state["epoch"], state["batch_idx"])


class ResumableSampler(DistributedSampler[int]):
    """PyTorch's DistributedSampler, whose order is a function of (seed, epoch), from `start` on."""

    start = 0
    limit: int | None = None  # the most samples of an epoch

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())
        return iter(indices[self.start : self.limit])

    def __len__(self) -> int:
        return min(super().__len__(), self.limit or sys.maxsize)


class ExactSampler(Sampler[int]):
    """Every sample in one of the processes, and in one only, for evaluation.

    DistributedSampler gives all processes as many by handing some samples out twice, and so counts
    them twice: of 9 samples on 2 processes 2 right ones become 2/10 or 3/10.
    """

    def __init__(self, samples: int, num_replicas: int, rank: int) -> None:
        self.indices = range(rank, samples, num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def evaluation_batch_size(samples: int, batch_size: int, num_replicas: int) -> int:
    """The batch size from `batch_size` up with which all processes have as many batches: in each,
    DistributedDataParallel waits for the others.

    Raises:
        RunError: there are more processes than samples.
    """
    least, most = samples // num_replicas, math.ceil(samples / num_replicas)
    if least == 0:
        raise RunError(
            f"--devices: {num_replicas} processes in all cannot share "
            f"{counted(samples, 'image')} to evaluate"
        )
    while math.ceil(least / batch_size) != math.ceil(most / batch_size):
        batch_size += 1
    return batch_size


def make_train_loader(
    dataset: ImageDataset,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
    device: torch.device | None = None,
    num_replicas: int = 1,
    rank: int = 0,
    limit_batches: int | None = None,
) -> ResumableLoader:
    """The loader of the training split in one of `num_replicas` processes: each epoch in another
    order, which follows from the seed and the number of the epoch.

    Args:
        device: on a GPU, the batches are made where they are used.
        limit_batches: the most batches of an epoch; None for all.
    """
    dataset, options = _place(dataset, seed, num_workers, device)
    sampler = ResumableSampler(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
    if limit_batches is not None:
        sampler.limit = limit_batches * batch_size
    return ResumableLoader(dataset, batch_size=batch_size, sampler=sampler, **options)


def make_eval_loader(
    dataset: ImageDataset,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
    device: torch.device | None = None,
    num_replicas: int = 1,
    rank: int = 0,
    limit_batches: int | None = None,
) -> DataLoader[Batch]:
    """The loader of a split to evaluate on in one of `num_replicas` processes: every picture once,
    in the order of the split. The arguments are those of `make_train_loader`.

    Raises:
        RunError: there are more processes than samples.
    """
    samples = len(dataset)
    dataset, options = _place(dataset, seed, num_workers, device)
    batch_size = evaluation_batch_size(samples, batch_size, num_replicas)
    limit = samples if limit_batches is None else limit_batches * batch_size * num_replicas
    sampler = ExactSampler(min(limit, samples), num_replicas, rank)
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, **options)


def _place(
    dataset: ImageDataset, seed: int, num_workers: int, device: torch.device | None
) -> tuple[ImageDataset, dict[str, Any]]:
    """The dataset where its batches are made, and what all loaders are told.

    Each loader owns its generator: each `iter(DataLoader)` draws a seed for its workers, and drawn
    from the global generator that would change the dropout masks of the steps that follow.

    Workers cannot make batches on a GPU: with workers, batches go through pinned memory, from which
    the GPU copies while it computes.
    """
    # More workers than cores are what the flag asked for.
    warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
    is_cuda = device is not None and device.type == "cuda"
    if device is not None and is_cuda and num_workers == 0:
        dataset = dataset.to(device)
    return dataset, dict(
        num_workers=num_workers,
        pin_memory=is_cuda and num_workers > 0,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )
