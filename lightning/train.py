"""Training: a Trainer, told what to do.

python -m lightning.train --dataset mnist --max_epochs 1
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Any

from shared import checkpoints, files, ranks, run_folder, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run


def fit(config: Config) -> dict[str, Any]:
    """Train, then test the best checkpoint. Returns the content of `summary.json`."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
    from pytorch_lightning.loggers import TensorBoardLogger

    from lightning.data import ImageData
    from lightning.module import ImageClassifier
    from shared.signals import Interrupt

    config = run_folder.after_restart("lightning", config)  # [ddp] after a process has died
    ckpt_path = None
    if config.ckpt_path is not None:
        ckpt_path = checkpoints.find_checkpoint("lightning", config)
        checkpoints.check_checkpoint(ckpt_path, config, resume=True)
    options = trainer_options(config)
    run_dir = run_folder.create_run_dir("lightning", config)
    pl.seed_everything(config.seed, verbose=False)  # [seed] random, numpy and torch at once

    data = ImageData(**config.data_hparams())
    module = ImageClassifier(**config.module_hparams())

    # A callback for each: save_last=True beside a monitored one would write last.ckpt only when
    # best.ckpt is written.
    interrupt = Interrupt("lightning", run_dir, config)
    where = dict(dirpath=run_dir / "checkpoints", enable_version_counter=False)
    callbacks = [
        LearningRateMonitor("step"),
        stop_on_signal(interrupt, where["dirpath"] / "last.ckpt"),
        ModelCheckpoint(monitor="val/loss", filename="best", **where),  # [checkpoint] least loss
        ModelCheckpoint(filename="last", **where),
    ]
    if config.checkpoint_every_n_steps is not None:
        callbacks.append(save_between(config.checkpoint_every_n_steps, where))
    if config.early_stopping_patience is not None:
        patience = config.early_stopping_patience
        # [early-stop] Its counter is saved in the checkpoint, too.
        callbacks.append(EarlyStopping("val/loss", patience=patience))
    options["callbacks"] += callbacks
    options["plugins"].append(atomic_checkpoints(options["accelerator"]))
    # [log] The graph of the model is drawn from its example_input_array.
    logger = TensorBoardLogger(
        run_dir, name="", version="", log_graph=True, default_hp_metric=False
    )
    trainer = pl.Trainer(
        **options,
        max_epochs=config.max_epochs,
        accumulate_grad_batches=config.accumulate_grad_batches,  # [accumulate] and divide
        gradient_clip_val=config.gradient_clip_val,  # [clip] the sum of a window, once
        logger=logger,
        log_every_n_steps=config.log_every_n_steps,
        fast_dev_run=config.fast_dev_run,
    )
    started = time.perf_counter()
    # [train] [validate] [resume] The loop. Moving batches, train() and eval(), zero_grad, backward,
    # step, the schedule, validation after each epoch, resuming: all of it happens in here.
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    fit_seconds = time.perf_counter() - started
    interrupt.finish()
    run_dir = trainer.strategy.broadcast(run_dir)  # [ddp] made by the first process
    epochs, global_step = trainer.current_epoch, trainer.global_step
    validated = dict(trainer.callback_metrics)
    if "val/loss" not in validated:  # [resume] of a run that was stopped after its last epoch
        trainer.loggers = []  # [log] It has written these points before, at their own step.
        validated = trainer.validate(module, data, verbose=False)[0]
        trainer.loggers = [logger]

    logger._log_graph = False  # or it would be drawn once more
    # [test] The weights of the best epoch, not those of the last.
    best_path = None if config.fast_dev_run else run_dir / "checkpoints" / "best.ckpt"
    tested = trainer.test(module, data, ckpt_path=best_path, weights_only=True, verbose=False)[0]
    if not config.fast_dev_run:
        logger.log_hyperparams(config.hparams(), summary.final_metrics(validated, tested))
    return summary.write_summary(
        "lightning", run_dir, config, module, len(data.splits["train"]),
        device=trainer.strategy.root_device, world_size=trainer.world_size, epochs=epochs,
        global_step=global_step, validated=validated, tested=tested, fit_seconds=fit_seconds,
    )  # fmt: skip


def atomic_checkpoints(accelerator: str) -> Any:
    """[checkpoint] Written beside the old one, which stays whole until the new one is. Lightning
    writes into the system's temporary folder, and moving a file from there to another disk is
    copying it: a run killed meanwhile would leave half of the only checkpoint it had."""
    import torch
    from lightning_fabric.plugins import TorchCheckpointIO, XLACheckpointIO
    from lightning_fabric.utilities import move_data_to_device

    class AtomicCheckpoints(XLACheckpointIO if accelerator == "tpu" else TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, **_: Any) -> None:
            buffer = io.BytesIO()
            torch.save(move_data_to_device(checkpoint, "cpu"), buffer)
            files.write_atomically(Path(path), buffer.getvalue())

    return AtomicCheckpoints()


def save_between(every_n_steps: int, where: dict[str, Any]) -> Any:
    """[checkpoint] last.ckpt within an epoch. Its end is left to the callback that saves there: a
    run that is killed between the two would resume past the validation."""
    from pytorch_lightning.callbacks import ModelCheckpoint

    class WithinEpoch(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if not trainer.is_last_batch:
                super().on_train_batch_end(trainer, *args)

    return WithinEpoch(filename="last", every_n_train_steps=every_n_steps, **where)


def stop_on_signal(interrupt: Any, last: Any) -> Any:
    """[checkpoint] After a signal, save and leave between two optimizer steps."""
    from pytorch_lightning.callbacks import Callback

    class StopOnSignal(Callback):
        # The Trainer sets its own handlers before each of these: with them, it would stop in the
        # middle of a window of accumulated gradients and save nothing, or not stop at all.
        def on_sanity_check_start(self, *_: Any) -> None:
            interrupt.catch()

        def on_test_start(self, *_: Any) -> None:
            interrupt.catch()

        def on_train_start(self, trainer: Any, *_: Any) -> None:
            interrupt.defer()
            # [ddp] Only together can the processes stop between the same two steps.
            decide = trainer.strategy.reduce_boolean_decision
            interrupt.any_of = lambda received: decide(received, all=False)

        saved = False

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            between = not trainer.fit_loop.epoch_loop._should_accumulate()
            if between and not trainer.is_last_batch and interrupt.requested():
                trainer.save_checkpoint(last, weights_only=False)
                self.saved = True

        def on_train_batch_start(self, *_: Any) -> None:
            # And not where it was saved: what the step logged is written after that hook.
            if self.saved:
                interrupt.leave()

        def on_train_epoch_start(self, *_: Any) -> None:
            if interrupt.requested():  # during validation: last.ckpt was written after it
                interrupt.leave()

    return StopOnSignal()


def trainer_options(config: Config) -> dict[str, Any]:
    """What train, test and predict all tell their Trainer: where to run, and what to show.

    Raises:
        UsageError: as `hardware.choose_accelerator`.
    """
    from pytorch_lightning.callbacks import TQDMProgressBar
    from pytorch_lightning.strategies import DDPStrategy

    from shared import hardware

    class ProgressBar(TQDMProgressBar):
        """[progress] Lightning's bar, cut down to what fits on 80 columns, and drawn ten times a
        second: at every so many batches, it would be drawn too often or too seldom."""

        drawn, loss = 0.0, None

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *batch: Any) -> None:
            if trainer.is_last_batch or time.monotonic() > self.drawn + 0.1:
                self.drawn = time.monotonic()
                # It comes divided by the length of the window.
                self.loss = outputs["loss"] * trainer.accumulate_grad_batches
                super().on_train_batch_end(trainer, module, outputs, *batch)

        def get_metrics(self, trainer: Any, module: Any) -> dict[str, Any]:
            accuracy = trainer.progress_bar_metrics.get("val/accuracy")
            metrics = {"loss": self.loss, "val_acc": accuracy}
            return {name: f"{value:.3f}" for name, value in metrics.items() if value is not None}

    kind = hardware.choose_accelerator(config)
    if kind != "cuda":
        # Set by Lightning's import: without a GPU, every optimizer step would look for its driver.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    hardware.make_deterministic(config.threads)
    processes = config.devices * config.num_nodes
    show = config.progress_bar and sys.stdout.isatty()
    return {
        "accelerator": kind,  # [device] modules and batches are moved there
        # [ddp] Both said: left to itself, a Trainer under torchrun takes one device on a CPU, and
        # every process trains a model of its own.
        "devices": config.devices,
        "num_nodes": config.num_nodes,
        "strategy": DDPStrategy(timeout=ranks.TIMEOUT) if processes > 1 else "auto",
        "use_distributed_sampler": False,  # [ddp] Its sampler would count images twice.
        "precision": config.precision,  # [precision] autocast and, for 16-mixed, the loss scaler
        # [seed] Bit for bit the same on CUDA too, where the fastest algorithms are not.
        "deterministic": True,
        "callbacks": [ProgressBar()] if show else [],
        "plugins": [],
        "enable_progress_bar": show,
        "enable_model_summary": False,
    }


def main() -> None:
    config, _ = parse_args("lightning.train")
    run(lambda: summary.print_summary(fit(config)))


if __name__ == "__main__":
    main()
