"""Training: a Trainer, told what to do.

python -m lightning train --dataset mnist --max_epochs 1
"""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from lightning import callbacks as ours
from lightning.data import ImageData
from lightning.module import ImageClassifier
from lightning.trainer import trainer_options
from shared.checkpoints import resume_from
from shared.config import Config
from shared.run_folder import after_restart, create_run_dir
from shared.signals import Interrupt
from shared.summary import hp_metrics, write_summary


def train(config: Config) -> dict[str, Any]:
    """Train, then test the best weights. Returns the content of `summary.json`."""
    config = after_restart("lightning", config)  # [ddp] torchrun has replaced a dead process
    ckpt_path, saved = resume_from("lightning", config)  # [resume] None and empty for a new run
    options = trainer_options(config)
    run_dir = create_run_dir("lightning", config)
    folder = run_dir / "checkpoints"
    interrupt = Interrupt("lightning", run_dir, config)
    clock = ours.FitClock()
    pl.seed_everything(config.seed, verbose=False)  # [seed] random, numpy and torch at once

    data = ImageData(**config.data_hparams())
    module = ImageClassifier(**config.module_hparams())
    callbacks = [
        LearningRateMonitor("step"),  # [log] [schedule] the rate in use
        # [checkpoint] One for each file: save_last=True in the first would leave last.ckpt stale.
        ModelCheckpoint(folder, "best", monitor="val/loss", enable_version_counter=False),
        ModelCheckpoint(folder, "last", enable_version_counter=False),
        ours.SeedEpochs(config.seed),
        ours.CheckLoss(config.log_every_n_steps),
        ours.ResumeWithinEpoch(module.train_accuracy, config.recipe()),
        ours.SaveWithinEpoch(folder / "last.ckpt", config.checkpoint_every_n_steps),
        ours.StopOnSignal(interrupt, folder / "last.ckpt"),
        ours.DrawGraph(),
        ours.DrawFigures(data),
        clock,
    ]
    if config.early_stopping_patience is not None:  # [early-stop] None: never
        callbacks.append(EarlyStopping("val/loss", patience=config.early_stopping_patience))
    if config.compile:
        callbacks.append(ours.CompileNetwork())
    trainer = pl.Trainer(
        **options,
        callbacks=callbacks,
        # [log] Scalars, straight into the run folder.
        logger=TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False),
        log_every_n_steps=config.log_every_n_steps,  # [log] points of train/loss and lr
        max_epochs=config.max_epochs,
        fast_dev_run=config.fast_dev_run,
        accumulate_grad_batches=config.accumulate_grad_batches,  # [accumulate] and divide
        gradient_clip_val=config.gradient_clip_val,  # [clip] the sum of a window, once
    )

    # [train] [validate] [resume] The loop, which stands in raw_pytorch/train.py by hand.
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)

    interrupt.finish()
    # [resume] A run that was stopped after its last epoch does not validate again.
    metrics: dict[str, Any] = {**saved.get("validated", {}), **trainer.callback_metrics}
    run_dir = trainer.strategy.broadcast(run_dir)  # [ddp] the first process has made it
    # [test] The weights of the best epoch, not those of the last.
    best = None if config.fast_dev_run else run_dir / "checkpoints" / "best.ckpt"
    metrics |= trainer.test(module, data, ckpt_path=best, weights_only=True, verbose=False)[0]
    if trainer.logger is not None:
        trainer.logger.log_hyperparams(config.hparams(), hp_metrics(metrics), trainer.global_step)
    device, train_images = trainer.strategy.root_device, len(data.splits["train"])
    return write_summary(
        "lightning", run_dir, config, module, metrics, device, train_images, clock.seconds
    )
