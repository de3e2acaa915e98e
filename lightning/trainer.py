"""What train, test and predict tell their Trainer: where to run, in which numbers, what to show.

By hand, this is raw_pytorch/devices.py, distributed.py, precision.py, progress.py and the end of
checkpoint.py.
"""

import io
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO, XLACheckpointIO
from pytorch_lightning.strategies import DDPStrategy

from shared import checkpoint_format, hardware, ranks
from shared.config import Config
from shared.files import write_atomically


def trainer_options(config: Config) -> dict[str, Any]:
    """Arguments for `pl.Trainer`.

    Raises:
        UsageError: this machine lacks what the flags ask for.
    """
    accelerator = hardware.choose_accelerator(config)
    hardware.make_deterministic(config.threads)
    return {
        "accelerator": accelerator,  # [device] modules and batches are moved there
        # [ddp] With devices left out, a Trainer under torchrun takes one device on a CPU, and every
        # process would train a model of its own.
        "devices": config.devices,
        "num_nodes": config.num_nodes,
        "strategy": DDPStrategy(timeout=ranks.TIMEOUT) if config.world_size > 1 else "auto",
        "use_distributed_sampler": False,  # [ddp] Its sampler would count images twice.
        "precision": config.precision,  # [precision] autocast and, for 16-mixed, the loss scaler
        "deterministic": True,  # [seed] equal to the bit on CUDA too
        # [progress] Into a file or a pipe, the bar would write thousands of lines.
        "enable_progress_bar": config.progress_bar and sys.stdout.isatty(),
        "enable_model_summary": False,
        "plugins": [AtomicXLACheckpointIO() if accelerator == "tpu" else AtomicCheckpointIO()],
    }


class AtomicCheckpointIO(TorchCheckpointIO):
    """[checkpoint] Writes a checkpoint beside the old one, which stays whole until the new one is.

    Lightning writes into the system's temporary folder. From there to another disk, moving a file
    is copying it, and a run killed meanwhile would leave half of the only checkpoint it had.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint_format.sealed(checkpoint), buffer)
        write_atomically(Path(path), buffer.getvalue())


class AtomicXLACheckpointIO(AtomicCheckpointIO, XLACheckpointIO):
    """[checkpoint] The same for a TPU, whose strategies ask for a plugin of this kind."""
