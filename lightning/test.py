"""Testing a checkpoint of a run.

python -m lightning.test --ckpt_path best
"""

from __future__ import annotations

from pathlib import Path

from shared import checkpoints, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run


def test(config: Config) -> tuple[Path, dict[str, float]]:
    """Test a checkpoint of either side.

    Returns:
        The checkpoint's path, and `test/loss` and `test/accuracy` over the test split.
    """
    import pytorch_lightning as pl

    from lightning.data import ImageData
    from lightning.module import ImageClassifier
    from lightning.train import trainer_options

    options = trainer_options(config)
    ckpt_path = checkpoints.find_checkpoint("lightning", config)
    checkpoints.check_checkpoint(ckpt_path, config, resume=False)
    data = ImageData(**config.data_hparams())
    module = ImageClassifier.load_from_checkpoint(ckpt_path, weights_only=True)
    quiet = dict(logger=False, enable_checkpointing=False, fast_dev_run=config.fast_dev_run)
    trainer = pl.Trainer(**options, **quiet)
    # [test] The device, eval mode, no gradients, and the averages over the split.
    return ckpt_path, trainer.test(module, data, verbose=False)[0]


def main() -> None:
    config, _ = parse_args("lightning.test")
    run(lambda: summary.print_test(*test(config)))


if __name__ == "__main__":
    main()
