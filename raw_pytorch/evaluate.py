"""[validate] [test] Evaluation over a whole split, by hand.

Lightning: trainer.fit validates after each epoch, trainer.test(...), and self.log averages
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from raw_pytorch.devices import move


def evaluate(
    module: nn.Module,
    step: Callable[[tuple[Tensor, Tensor], int], None],
    loader: Iterable[tuple[Tensor, Tensor]],
    metrics: dict[str, Metric],
    device: torch.device,
) -> dict[str, float]:
    """Run `step` over every batch, without gradients and in eval mode.

    Args:
        step: `module.validation_step` or `module.test_step`.
        metrics: what `step` updates, by the tag it is logged under. They are reset afterwards.

    Returns:
        The value of each metric over the whole split.
    """
    # Dropout off, and batch norm with the statistics it learnt. Forgetting either line below gives
    # no error, only other numbers.
    module.eval()
    with torch.no_grad():
        for batch_idx, batch in enumerate(loader):
            step(move(batch, device), batch_idx)
    module.train()
    values = {tag: metric.compute().item() for tag, metric in metrics.items()}
    for metric in metrics.values():
        metric.reset()
    return values
