"""The order in which an epoch visits the pictures, resuming within it, and shares of a split."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.data import (
    ImageDataset,
    ResumableLoader,
    load,
    make_eval_loader,
    make_train_loader,
)
from shared.data.loaders import evaluation_batch_size
from shared.errors import RunError


@pytest.fixture(scope="module")
def digits() -> dict[str, ImageDataset]:
    return load("digits", "data")


# The order of an epoch, and resuming within it


def train_loader(num_workers: int = 0, seed: int = 3) -> ResumableLoader:
    # Each picture holds its own number, so a batch says which pictures it has.
    images = torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1).expand(50, 1, 28, 28)
    dataset = ImageDataset(images, torch.arange(50), mean=0.0, std=1.0)
    return make_train_loader(dataset, 8, seed=seed, num_workers=num_workers)


def epoch_of(loader: ResumableLoader, epoch: int) -> list[list[int]]:
    loader.sampler.set_epoch(epoch)
    return [labels.tolist() for _, labels in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_visits_every_picture_once_in_an_order_of_its_own(num_workers: int) -> None:
    loader = train_loader(num_workers)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [8] * 6 + [2]
        assert sorted(chain(*batches)) == list(range(50))
    assert first != second
    assert list(chain(*first)) != list(range(50))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_order_follows_from_seed_and_epoch_alone(num_workers: int) -> None:
    expected = epoch_of(train_loader(), 4)
    torch.manual_seed(99)
    loader = train_loader(num_workers)
    epoch_of(loader, 1)
    assert epoch_of(loader, 4) == expected
    assert epoch_of(train_loader(seed=4), 4) != expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("make_loader", [make_train_loader, make_eval_loader])
def test_iterating_draws_nothing_from_the_global_generator(
    num_workers: int, make_loader: Callable[..., Any], digits: dict[str, ImageDataset]
) -> None:
    loader = make_loader(digits["val"], 64, seed=0, num_workers=num_workers)
    state = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), state)


def test_validation_keeps_its_order(digits: dict[str, ImageDataset]) -> None:
    loader = make_eval_loader(digits["val"], 64, seed=0)
    assert torch.equal(torch.cat([labels for _, labels in loader]), digits["val"].labels)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 6])
def test_a_loader_resumes_at_the_very_next_batch(done: int, num_workers: int) -> None:
    expected = epoch_of(train_loader(), 2)
    stopped = train_loader(num_workers)
    stopped.sampler.set_epoch(2)
    batches = iter(stopped)
    seen = [next(batches)[1].tolist() for _ in range(done)]
    state = stopped.state_dict()

    resumed = train_loader(num_workers)
    resumed.load_state_dict(state)
    seen += [labels.tolist() for _, labels in resumed]
    assert seen == expected
    # The epoch that follows starts at its first batch again.
    assert epoch_of(resumed, 3) == epoch_of(train_loader(), 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_at_an_epochs_end_the_place_is_the_start_of_the_next(num_workers: int) -> None:
    loader = train_loader(num_workers)
    epoch_of(loader, 2)
    assert loader.state_dict() == {"epoch": 3, "batch_idx": 0, "world_size": 1}
    resumed = train_loader(num_workers)
    resumed.load_state_dict(loader.state_dict())
    assert [labels.tolist() for _, labels in resumed] == epoch_of(train_loader(), 3)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_limit_takes_the_first_batches_of_the_epoch_and_is_counted(
    world_size: int, digits: dict[str, ImageDataset]
) -> None:
    def batches(limit: int | None) -> list[list[list[int]]]:
        shares = []
        for rank in range(world_size):
            share = dict(seed=0, num_replicas=world_size, rank=rank, limit_batches=limit)
            for make_loader in (make_train_loader, make_eval_loader):
                loader = make_loader(digits["val"], 16, **share)
                shares.append([labels.tolist() for _, labels in loader])
                assert len(loader) == len(shares[-1])
        return shares

    whole = batches(None)
    assert min(map(len, whole)) > 2
    assert batches(2) == [share[:2] for share in whole]


# Shares of a split


@given(samples=st.integers(1, 5000), world_size=st.integers(1, 16), batch_size=st.integers(1, 300))
def test_all_processes_evaluate_in_as_many_batches(
    samples: int, world_size: int, batch_size: int
) -> None:
    if samples < world_size:
        with pytest.raises(RunError, match="cannot share"):
            evaluation_batch_size(samples, batch_size, world_size)
        return
    size = evaluation_batch_size(samples, batch_size, world_size)
    shares = [len(range(rank, samples, world_size)) for rank in range(world_size)]
    assert len({-(-share // size) for share in shares}) == 1
    assert size >= batch_size
    if world_size == 1 or samples % world_size == 0:
        assert size == batch_size
