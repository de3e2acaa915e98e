"""The limit: the same step as both sides take, and nothing else.

python -m shared.bench.timed.limit --dataset mnist --width 48

The batches lie ready on the device: no loader, no logging, no metrics, no checkpoints. What a side
reaches of this speed says what all the rest costs. Takes the flags of train.
"""

from __future__ import annotations

import itertools
from typing import Any

from shared.cli import parse_args
from shared.config import Config
from shared.errors import run


def resident_batches(config: Config, device: Any) -> list[Any]:
    """An epoch of training batches on the device, in the order of the files.

    Returns:
        For each batch, images float32 [B, 1, 28, 28] and labels int64 [B].
    """
    from shared import data

    split = data.load(config.dataset, config.data_dir)["train"]
    starts = range(0, len(split), config.batch_size)
    batches = [
        split.__getitems__(list(range(start, min(start + config.batch_size, len(split)))))
        for start in starts
    ]
    return [(images.to(device), labels.to(device)) for images, labels in batches]


def device_name(config: Config) -> str:
    """The device that `--accelerator` means."""
    import torch

    if config.accelerator != "auto":
        return config.accelerator
    return "cuda" if torch.cuda.is_available() else "cpu"


def train_bare(config: Config, batches: list[Any] | None = None, steps: int | None = None) -> None:
    """Train on batches, or on those of the dataset, for so many steps, or for all epochs."""
    import torch
    from torch.nn.functional import cross_entropy

    from shared.model import ConvNet, compile_network, make_optimizer, make_scheduler

    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    device = torch.device(device_name(config))
    batches = batches or resident_batches(config, device)
    net = ConvNet(config.dropout, config.width).to(device)
    if config.compile:
        compile_network(net, device)
    optimizer = make_optimizer(net, config.lr, config.weight_decay)
    scheduler = make_scheduler(optimizer, config.lr, len(batches) * config.max_epochs)
    epochs = itertools.repeat(batches, config.max_epochs)
    for images, labels in itertools.islice(itertools.chain.from_iterable(epochs), steps):
        loss = cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def main() -> None:
    description = "Take the training steps on batches that lie ready, and nothing else."
    config, _ = parse_args("shared.bench.timed.limit", description=description)
    run(lambda: train_bare(config))


if __name__ == "__main__":
    main()
