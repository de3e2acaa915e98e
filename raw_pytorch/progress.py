"""[progress] A progress bar, by hand.

Lightning: Trainer(enable_progress_bar=...) and self.log(..., prog_bar=True)
"""

import sys

from torch import Tensor
from tqdm import tqdm

from shared import ranks
from shared.config import Config


class ProgressBar:
    """One bar, filled anew in each epoch, with the loss of the step and the last accuracy."""

    def __init__(self, config: Config, total: int) -> None:
        # Into a file or a pipe, the bar would write thousands of lines.
        disable = not (config.progress_bar and ranks.rank() == 0 and sys.stdout.isatty())
        self.bar = tqdm(total=total, disable=disable, file=sys.stdout, dynamic_ncols=True)
        self.metrics: dict[str, float] = {}

    def start_epoch(self, epoch: int, first_batch: int) -> None:
        self.bar.reset()
        self.bar.update(first_batch)
        self.bar.set_description(f"Epoch {epoch}", refresh=False)

    def step(self, loss: Tensor) -> None:
        # A tensor on a device is only read when the bar is drawn: reading it waits for the device.
        if self.bar.update():
            self.metrics["train/loss"] = loss.item()
            self.bar.set_postfix(self.metrics, refresh=False)

    def end_epoch(self, loss: Tensor, val_accuracy: float) -> None:
        self.metrics = {"train/loss": loss.item(), "val/accuracy": val_accuracy}
        self.bar.set_postfix(self.metrics)

    def close(self) -> None:
        self.bar.close()
