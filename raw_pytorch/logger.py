"""[log] TensorBoard, by hand.

Lightning: TensorBoardLogger(...), LearningRateMonitor(...), self.log(...)
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from raw_pytorch.data import ImageData
from raw_pytorch.module import ImageClassifier
from shared.figures import add_figures
from shared.ranks import gather


class Logger:
    """Writes scalars to the run folder.

    Steps on the x axis follow Lightning: the number of optimizer steps done before this one, so the
    first step is 0, and what is known at the end of an epoch stands at the epoch's last step.
    """

    def __init__(self, run_dir: Path, log_every_n_steps: int, enabled: bool) -> None:
        self.writer = SummaryWriter(str(run_dir)) if enabled else None
        self.log_every_n_steps = log_every_n_steps

    def log(self, scalars: dict[str, Any], step: int) -> None:
        for tag, value in scalars.items() if self.writer else ():
            self.writer.add_scalar(tag, value, step)

    def log_step(self, scalars: dict[str, Any], step: int) -> None:
        """Log every so many steps. A tensor on a device is read only then: that waits for it."""
        if (step + 1) % self.log_every_n_steps == 0:
            self.log(scalars, step)

    def graph(self, module: ImageClassifier, device: torch.device) -> None:
        if self.writer:
            with warnings.catch_warnings():
                # TensorBoard traces the model in a way that PyTorch has begun to leave behind.
                warnings.filterwarnings("ignore", message="`torch.jit.trace")
                self.writer.add_graph(module, module.example_input_array.to(device))

    def figures(self, module: ImageClassifier, data: ImageData, step: int) -> None:
        """Draw what the last validation found. Once: that takes as long as an epoch of digits."""
        if not module.val_probabilities:  # nothing was left to train
            return
        probabilities = gather(torch.cat(module.val_probabilities))  # [ddp] from all processes
        if self.writer:
            add_figures(self.writer, data.splits["val"], probabilities, step)

    def hyperparameters(self, values: dict[str, Any], metrics: dict[str, float]) -> None:
        """For the HPARAMS page: not by `writer.add_hparams`, which would make a run of its own."""
        if self.writer:
            self.log(metrics, 0)
            for summary in hparams(values, metrics):
                self.writer.file_writer.add_summary(summary)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
