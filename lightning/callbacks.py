"""What Lightning leaves to you, one small callback for each concern.

By hand, these are lines of raw_pytorch/train.py and training_state.py.
"""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics import Metric

from lightning.data import ImageData
from shared import ranks
from shared.figures import add_figures
from shared.finite import FiniteLoss, check_val_loss
from shared.model import compile_network
from shared.seeds import generator_state, restore_generators, seed_epoch
from shared.signals import Interrupt


def is_between_steps(trainer: pl.Trainer) -> bool:
    """Whether the optimizer has just stepped, and not for the last time in its epoch."""
    is_window_full = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return is_window_full and not trainer.is_last_batch


class SeedEpochs(Callback):
    """[seed] Seeds each epoch by its number, so that a resumed run draws the dropout masks that the
    undisturbed run would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seed_epoch(self.seed, trainer.current_epoch, pl_module.device)


class CheckLoss(Callback):
    """Ends a run whose loss is NaN or infinite, before such a loss changes the weights.

    Args:
        every_n: on an accelerator, the number of losses that are looked at together.

    Raises:
        RunError: the message names the step and the learning rate.
    """

    def __init__(self, every_n: int) -> None:
        self.every_n = every_n
        self.finite_loss: FiniteLoss | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.finite_loss = FiniteLoss(trainer.optimizers[0], self.every_n)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        if self.finite_loss:
            batch_idx = trainer.fit_loop.batch_idx
            self.finite_loss.step(loss, trainer.current_epoch, batch_idx, trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            check_val_loss(trainer.callback_metrics["val/loss"].item(), trainer.current_epoch)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.finite_loss:
            self.finite_loss.check()


class ResumeWithinEpoch(Callback):
    """[resume] Saves what Lightning's checkpoint lacks and a run that was stopped needs: the states
    of the random generators, what the training metric has counted so far, and the results of the
    last validation. The place of the loader is saved by the data module.

    Args:
        metric: the module's metric of the training accuracy.
        recipe: plain values that are written into each checkpoint under this name.
    """

    def __init__(self, metric: Metric, recipe: dict[str, Any]) -> None:
        self.metric = metric
        self.recipe = recipe
        self.saved: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["recipe"] = self.recipe
        logged = trainer.callback_metrics
        checkpoint["validated"] = {n: v.item() for n, v in logged.items() if n.startswith("val/")}
        checkpoint["generators"] = generator_state(pl_module.device)
        with self.metric.sync_context():  # [ddp] what all processes have counted
            state = self.metric.metric_state.items()
            counts = {name: value.clone() for name, value in state if isinstance(value, Tensor)}
        checkpoint["train_accuracy"] = counts

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.saved = checkpoint

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Only now: what happens between loading and this hook may draw from the generators. At the
        # start of an epoch, both begin anew.
        if self.saved is not None and trainer.fit_loop.restarted_mid_epoch:
            restore_generators(self.saved["generators"], pl_module.device)
            if trainer.is_global_zero:  # [ddp] the average is over all processes again
                for name, value in self.saved["train_accuracy"].items():
                    setattr(self.metric, name, value.to(self.metric.device))
        self.saved = None


class SaveWithinEpoch(Callback):
    """[checkpoint] Saves every so many optimizer steps, except at the end of an epoch.

    That is left to the callback that saves after the validation: a run that is killed between the
    two would resume past the validation.
    """

    def __init__(self, path: Path, every_n_steps: int | None) -> None:
        self.path = path
        self.every_n_steps = every_n_steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        is_due = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        if is_due and is_between_steps(trainer):
            trainer.save_checkpoint(self.path, weights_only=False)


class StopOnSignal(Callback):
    """[checkpoint] Saves and leaves between two optimizer steps once a signal has come.

    Raises:
        Interrupted: its message holds the command that resumes the run.
    """

    def __init__(self, interrupt: Interrupt, last: Path) -> None:
        self.interrupt = interrupt
        self.last = last
        self.saved = False

    # The Trainer sets handlers of its own before each of the next three hooks. They would stop in
    # the middle of a window of accumulated gradients and save nothing, or not stop at all.
    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interrupt.catch()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interrupt.catch()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interrupt.defer()
        # [ddp] The processes can only stop together, between the same two steps.
        self.interrupt.any_of = lambda it: trainer.strategy.reduce_boolean_decision(it, all=False)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if is_between_steps(trainer) and self.interrupt.requested():
            trainer.save_checkpoint(self.last, weights_only=False)
            self.saved = True

    def on_train_batch_start(self, *_: Any) -> None:
        # One hook later than it was saved: what the step logged is written in between.
        if self.saved:
            self.interrupt.leave()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interrupt.leave_if_requested()  # in validation: last.ckpt was written after it


class FitClock(Callback):
    """Measures `seconds` from before the first batch to after the last validation."""

    started = seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.seconds = time.perf_counter() - self.started


class DrawGraph(Callback):
    """[log] Draws the graph of the model in TensorBoard once, from its `example_input_array`."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        images = pl_module.example_input_array
        # Under fast_dev_run, the Trainer has another logger, which writes nothing.
        if isinstance(trainer.logger, TensorBoardLogger) and isinstance(images, Tensor):
            trainer.logger.experiment.add_graph(pl_module, images.to(pl_module.device))


class DrawFigures(Callback):
    """[log] Draws what the last validation found, once: drawing takes as long as an epoch of the
    digits. The module's `validation_step` has to return logits [B, classes]."""

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.logits: list[Tensor] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.logits.clear()

    def on_validation_batch_end(self, _: Any, __: Any, outputs: Any, *___: Any) -> None:
        self.logits.append(outputs)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.logits and isinstance(trainer.logger, TensorBoardLogger):
            # [ddp] From all processes.
            probabilities = ranks.gather(torch.cat(self.logits).float().softmax(dim=1))
            if trainer.is_global_zero:
                writer, step = trainer.logger.experiment, trainer.global_step - 1
                add_figures(writer, self.data.splits["val"], probabilities, step)


class CompileNetwork(Callback):
    """Compiles the module's network, after the graph is drawn: a compiled one cannot be drawn."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        compile_network(pl_module.get_submodule("net"), pl_module.device)
