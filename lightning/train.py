"""Training: a Trainer, told what to do.

python -m lightning.train --dataset mnist --max_epochs 1
"""

from __future__ import annotations

import sys
import time
from typing import Any

from shared import results
from shared.config import Config, UsageError, parse_args, run


def fit(config: Config) -> dict[str, Any]:
    """Train, then test the best checkpoint.

    Returns:
        The content of `summary.json`.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
    from pytorch_lightning.loggers import TensorBoardLogger

    from lightning.data import ImageData
    from lightning.module import ImageClassifier

    ckpt_path = None
    if config.ckpt_path is not None:
        ckpt_path = results.find_checkpoint("lightning", config)
        results.check_checkpoint(ckpt_path, config, resume=True)  # [resume]
    options = trainer_options(config)
    run_dir = results.create_run_dir("lightning", config)
    pl.seed_everything(config.seed, verbose=False)  # [seed] random, numpy and torch at once

    data = ImageData(
        config.dataset, config.data_dir, config.batch_size, config.seed, config.num_workers
    )
    module = ImageClassifier(
        config.lr, config.weight_decay, config.dropout, config.max_epochs, config.seed
    )

    # [checkpoint] Two callbacks: save_last=True beside a monitored one would write last.ckpt only
    # when best.ckpt is written.
    where = dict(dirpath=run_dir / "checkpoints", enable_version_counter=False)
    best = ModelCheckpoint(monitor="val/loss", filename="best", **where)
    last = ModelCheckpoint(filename="last", **where)
    options["callbacks"] += [best, last, LearningRateMonitor("step")]
    trainer = pl.Trainer(
        **options,
        max_epochs=config.max_epochs,
        logger=TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False),  # [log]
        log_every_n_steps=config.log_every_n_steps,
    )
    started = time.perf_counter()
    # [train] [validate] The loop. Moving batches, train() and eval(), zero_grad, backward, step,
    # the schedule, validation after each epoch, resuming: all of it happens in here.
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    fit_seconds = time.perf_counter() - started
    weights = results.fingerprint(module.state_dict())
    epochs, global_step = trainer.current_epoch, trainer.global_step
    validated = dict(trainer.callback_metrics)
    if "val/loss" not in validated:  # [resume] of a run that was stopped after its last epoch
        validated = trainer.validate(module, data, verbose=False)[0]

    # [test] The weights of the best epoch, not those of the last.
    best_path = run_dir / "checkpoints" / "best.ckpt"
    tested = trainer.test(module, data, ckpt_path=best_path, weights_only=True, verbose=False)[0]
    return results.write_summary(
        "lightning",
        run_dir,
        config,
        device=str(trainer.strategy.root_device),
        world_size=trainer.world_size,
        epochs=epochs,
        global_step=global_step,
        parameters=sum(p.numel() for p in module.parameters()),
        train_images=len(data.splits["train"]),
        validated=validated,
        tested=tested,
        fit_seconds=fit_seconds,
        weights_sha256=weights,
    )


def trainer_options(config: Config) -> dict[str, Any]:
    """What train, test and predict all tell their Trainer: where to run, and what to show.

    Raises:
        UsageError: this machine lacks the accelerator.
    """
    from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator
    from pytorch_lightning.callbacks import TQDMProgressBar

    class ProgressBar(TQDMProgressBar):
        """[progress] Lightning's bar, cut down to what fits on 80 columns."""

        def get_metrics(self, trainer: Any, module: Any) -> dict[str, Any]:
            metrics = super().get_metrics(trainer, module)
            names = {"train/loss": "loss", "val/accuracy": "val_acc"}
            return {name: metrics[key] for key, name in names.items() if key in metrics}

    kinds = {"cuda": CUDAAccelerator, "mps": MPSAccelerator, "tpu": XLAAccelerator}
    if config.accelerator in kinds and not kinds[config.accelerator].is_available():
        raise UsageError(
            f"--accelerator: {config.accelerator} is not available on this machine; use auto or cpu"
        )
    show = config.progress_bar and sys.stdout.isatty()
    return {
        "accelerator": config.accelerator,  # [device]
        "devices": 1,
        # [seed] Bit for bit the same on CUDA too, where the fastest algorithms are not.
        "deterministic": True,
        "callbacks": [ProgressBar(refresh_rate=10)] if show else [],
        "enable_progress_bar": show,
        "enable_model_summary": False,
    }


def main() -> None:
    config, _ = parse_args("lightning.train")
    results.print_summary(run(lambda: fit(config)))


if __name__ == "__main__":
    main()
