"""[log] TensorBoard, by hand.

Lightning: Trainer(logger=TensorBoardLogger(...), log_every_n_steps=...), LearningRateMonitor, self.log
"""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class Logger:
    """Writes scalars to the run folder.

    Steps on the x axis follow Lightning: the number of optimizer steps done before this one, so the
    first step is 0, and what is known at the end of an epoch stands at the epoch's last step.
    """

    def __init__(self, run_dir: Path, log_every_n_steps: int, enabled: bool) -> None:
        self.writer = SummaryWriter(str(run_dir)) if enabled else None
        self.log_every_n_steps = log_every_n_steps

    def is_due(self, step: int) -> bool:
        return (step + 1) % self.log_every_n_steps == 0

    def log(self, scalars: dict[str, float], step: int) -> None:
        for tag, value in scalars.items() if self.writer else ():
            self.writer.add_scalar(tag, value, step)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
