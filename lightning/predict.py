"""Predictions: predictions.csv for the test split, or answers for pictures of your own.

python -m lightning predict --images a.png b.jpg
"""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning.data import ImageData
from lightning.module import ImageClassifier
from lightning.trainer import trainer_options
from shared import pictures
from shared.checkpoints import check_checkpoint, find_checkpoint
from shared.config import Config
from shared.ranks import gather
from shared.summary import print_answers, write_predictions


def predict(config: Config, images: Sequence[str] = ()) -> Tensor:
    """Classify the test split, or the pictures in the files `images`.

    Returns:
        Probabilities float32 [N, classes], in the order of the split or of the files.
    """
    trainer = pl.Trainer(**trainer_options(config), logger=False, enable_checkpointing=False)
    ckpt_path = find_checkpoint("lightning", config)
    check_checkpoint(ckpt_path, config, resume=False)
    module = ImageClassifier.load_from_checkpoint(ckpt_path, weights_only=True)
    data = ImageData(**config.data_hparams())
    source: Any = data
    if images:
        source, images, problems = pictures.make_loader(config, images)
    # [predict] Eval mode and no gradients again; the answers come back on the CPU, batch by batch.
    batches: Any = trainer.predict(module, source)
    probabilities = torch.cat(batches)
    if images:
        print_answers(module.hparams["classes"], images, probabilities, problems)
        return probabilities
    probabilities = gather(probabilities)  # [ddp] from all processes, in the order of the split
    write_predictions(ckpt_path, data.splits["test"], probabilities)
    return probabilities
