"""Predictions: predictions.csv for the test split, or answers for pictures of your own.

python -m lightning.predict --images a.png b.jpg
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared import checkpoints, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run

if TYPE_CHECKING:
    from torch import Tensor


def predict(config: Config, images: Sequence[str] = ()) -> Tensor:
    """Classify the test split, or the pictures in the files `images`.

    Returns:
        Probabilities float32 [N, 10], in the order of the split or of the files.
    """
    import pytorch_lightning as pl
    import torch

    from lightning.data import ImageData
    from lightning.module import ImageClassifier
    from lightning.train import trainer_options
    from shared import pictures
    from shared.ranks import gather

    options = trainer_options(config)
    ckpt_path = checkpoints.find_checkpoint("lightning", config)
    checkpoints.check_checkpoint(ckpt_path, config, resume=False)
    module = ImageClassifier.load_from_checkpoint(ckpt_path, weights_only=True)
    data = ImageData(**config.data_hparams())
    trainer = pl.Trainer(**options, logger=False, enable_checkpointing=False)
    if images:
        data, images, problems = pictures.make_loader(config, images)
    # [predict] Eval mode and no gradients again; the answers come back on the CPU, batch by batch.
    probabilities = torch.cat(trainer.predict(module, data))
    if not images:
        probabilities = gather(probabilities)  # [ddp] complete, and in order
    if images:
        summary.print_answers(module.hparams["classes"], images, probabilities, problems)
    else:
        summary.write_predictions(ckpt_path, data.splits["test"], probabilities)
    return probabilities


def main() -> None:
    config, images = parse_args("lightning.predict", images=True)
    run(lambda: predict(config, images))


if __name__ == "__main__":
    main()
