"""[log] TensorBoard, by hand.

Lightning: TensorBoardLogger(...), LearningRateMonitor(...), self.log(...)
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from raw_pytorch.data import ImageData
from raw_pytorch.module import ImageClassifier
from shared import ranks
from shared.config import Config
from shared.figures import add_figures


class Logger:
    """Writes scalars to the run folder.

    Steps on the x axis follow Lightning: the number of optimizer steps done before this one, so the
    first step is 0, and what is known at the end of an epoch stands at the epoch's last step.
    """

    def __init__(self, run_dir: Path, config: Config) -> None:
        enabled = ranks.rank() == 0 and not config.fast_dev_run
        self.writer = SummaryWriter(str(run_dir)) if enabled else None
        self.log_every_n_steps = config.log_every_n_steps

    def log(self, scalars: dict[str, Any], step: int) -> None:
        if self.writer:
            for tag, value in scalars.items():
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

    def figures(self, logits: Tensor, data: ImageData, step: int) -> None:
        """Draw what the last validation found. Once, since drawing takes as long as an epoch of
        the digits; every process calls this.

        Args:
            logits: float32 [n, classes], those of this process.
        """
        probabilities = ranks.gather(logits.softmax(dim=1))  # [ddp] from all processes
        if self.writer:
            add_figures(self.writer, data.splits["val"], probabilities, step)

    def hyperparameters(self, values: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """For the HPARAMS page: not by `writer.add_hparams`, which would make a run of its own."""
        if self.writer:
            self.log(metrics, step)  # the page shows the last points of these curves
            file_writer: Any = self.writer.file_writer
            for summary in hparams(values, metrics):
                file_writer.add_summary(summary)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
