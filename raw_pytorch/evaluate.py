"""[validate] [test] Evaluation over a whole split, by hand.

Lightning: trainer.fit validates after each epoch, trainer.test(...), and self.log averages
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from raw_pytorch import devices
from raw_pytorch.module import ImageClassifier
from raw_pytorch.precision import Precision

Batches = Iterable[tuple[Tensor, Tensor]]


def validate(
    module: ImageClassifier, loader: Batches, device: torch.device, precision: Precision
) -> tuple[dict[str, float], Tensor]:
    """Validate, and give `val/loss` and `val/accuracy`, and this process's logits float32 [n, 10]
    for the figures."""
    # Dropout off, and batch norm with the statistics that it has learnt. Without eval() or
    # no_grad() there is no error, only other numbers or more memory.
    module.eval()
    with torch.no_grad(), precision.autocast():
        logits = [
            module.validation_step(devices.move(batch, device), batch_idx)
            for batch_idx, batch in enumerate(loader)
        ]
    module.train()
    # The mean over the split and [ddp] over all processes: it is no mean of the batches' means.
    metrics = {
        "val/loss": module.val_loss.compute(),
        "val/accuracy": module.val_accuracy.compute(),
    }
    module.val_loss.reset()
    module.val_accuracy.reset()
    return metrics, torch.cat(logits).float()


def test(
    module: ImageClassifier, loader: Batches, device: torch.device, precision: Precision
) -> dict[str, float]:
    """Test, and give `test/loss` and `test/accuracy`."""
    module.eval()
    with torch.no_grad(), precision.autocast():
        for batch_idx, batch in enumerate(loader):
            module.test_step(devices.move(batch, device), batch_idx)
    metrics = {
        "test/loss": module.test_loss.compute(),
        "test/accuracy": module.test_accuracy.compute(),
    }
    module.test_loss.reset()
    module.test_accuracy.reset()
    return metrics
