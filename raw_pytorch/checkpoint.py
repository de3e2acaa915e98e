"""[checkpoint] [resume] Saving and restoring, by hand.

Lightning: ModelCheckpoint(...), trainer.fit(ckpt_path=...), load_from_checkpoint(...)
"""

import io
from pathlib import Path
from typing import Any

import torch

from raw_pytorch import distributed
from raw_pytorch.module import ImageClassifier
from shared.checkpoint_format import MODULE_HPARAMS, sealed
from shared.files import write_atomically


def is_due(every_n_steps: int | None, global_step: int) -> bool:
    """Whether a checkpoint within the epoch is asked for after this many optimizer steps."""
    return every_n_steps is not None and global_step % every_n_steps == 0


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that an older one stays whole until the new one is."""
    if distributed.rank() == 0:  # [ddp] All have the same weights, and one process writes them.
        buffer = io.BytesIO()
        torch.save(sealed(state), buffer)
        write_atomically(path, buffer.getvalue())
    distributed.barrier()  # [ddp] nobody reads it before it is there


def load_module(saved: dict[str, Any]) -> ImageClassifier:
    """The module of a checkpoint of either side, with its weights, on the CPU."""
    module = ImageClassifier(**saved[MODULE_HPARAMS])
    module.load_state_dict(saved["state_dict"])
    return module
