"""[validate] [test] Evaluation over a whole split, by hand.

Lightning: trainer.fit validates after each epoch, trainer.test(...), and self.log averages
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from raw_pytorch.devices import move
from raw_pytorch.module import ImageClassifier
from raw_pytorch.precision import Precision

Batches = Iterable[tuple[Tensor, Tensor]]


def validate(
    module: ImageClassifier,
    loader: Batches,
    device: torch.device,
    precision: Precision,
    limit: int | None = None,
    replica: nn.Module | None = None,
) -> dict[str, float]:
    """Validate on at most `limit` batches, and give `val/loss` and `val/accuracy`.

    While training goes on, `replica` is what the steps are called through: [ddp] it takes the
    averages of batch norm from the first process, where each has others.
    """
    module.val_probabilities.clear()
    metrics = {"val/loss": module.val_loss, "val/accuracy": module.val_accuracy}
    step = partial(replica, "validation_step") if replica else module.validation_step
    return _evaluate(module, step, loader, metrics, device, precision, limit)


def test(
    module: ImageClassifier,
    loader: Batches,
    device: torch.device,
    precision: Precision,
    limit: int | None = None,
) -> dict[str, float]:
    """Test on at most `limit` batches, and give `test/loss` and `test/accuracy`."""
    metrics = {"test/loss": module.test_loss, "test/accuracy": module.test_accuracy}
    return _evaluate(module, module.test_step, loader, metrics, device, precision, limit)


def _evaluate(
    module: ImageClassifier,
    step: Callable[[tuple[Tensor, Tensor], int], None],
    loader: Batches,
    metrics: dict[str, Metric],
    device: torch.device,
    precision: Precision,
    limit: int | None,
) -> dict[str, float]:
    # Dropout off, and batch norm with the statistics it learnt. Forgetting either line below gives
    # no error, only other numbers.
    module.eval()
    with torch.no_grad(), precision.autocast():
        for batch_idx, batch in enumerate(itertools.islice(loader, limit)):
            step(move(batch, device), batch_idx)
    module.train()
    # Over the whole split, and [ddp] over all processes: what the metrics gathered, not a mean of
    # what they gave for each batch.
    values = {tag: metric.compute().item() for tag, metric in metrics.items()}
    for metric in metrics.values():
        metric.reset()
    return values
