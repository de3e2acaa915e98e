"""Testing a checkpoint of a run.

python -m lightning test --ckpt_path best
"""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl

from lightning.data import ImageData
from lightning.module import ImageClassifier
from lightning.trainer import trainer_options
from shared.checkpoints import check_checkpoint, find_checkpoint
from shared.config import Config


def test(config: Config) -> tuple[Path, Mapping[str, float]]:
    """Test a checkpoint of either side.

    Returns:
        The checkpoint's path, and `test/loss` and `test/accuracy` over the test split.
    """
    options = {**trainer_options(config), "fast_dev_run": config.fast_dev_run}
    trainer = pl.Trainer(**options, logger=False, enable_checkpointing=False)
    ckpt_path = find_checkpoint("lightning", config)
    check_checkpoint(ckpt_path, config, resume=False)
    data = ImageData(**config.data_hparams())
    module = ImageClassifier.load_from_checkpoint(ckpt_path, weights_only=True)
    # [test] The device, eval mode, no gradients, and the averages over the split.
    return ckpt_path, trainer.test(module, data, verbose=False)[0]
