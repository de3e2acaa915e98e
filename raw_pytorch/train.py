"""Training: the loop, straight down the page.

python -m raw_pytorch train --dataset mnist --max_epochs 1
"""

import math
import random
import time
from typing import Any

import numpy
import torch
from torch import Tensor

from raw_pytorch import checkpoint, devices, distributed, evaluate
from raw_pytorch.data import ImageData
from raw_pytorch.early_stopping import EarlyStopping
from raw_pytorch.logger import Logger
from raw_pytorch.module import ImageClassifier
from raw_pytorch.precision import Precision
from raw_pytorch.progress import ProgressBar
from raw_pytorch.training_state import TrainingState
from shared.checkpoints import read_checkpoint, resume_from
from shared.config import Config
from shared.finite import FiniteLoss, check_val_loss
from shared.model import compile_network
from shared.run_folder import after_restart, create_run_dir
from shared.seeds import seed_epoch
from shared.signals import Interrupt
from shared.summary import hp_metrics, write_summary


def train(config: Config) -> dict[str, Any]:
    """Train, then test the best weights. Returns the content of `summary.json`."""
    config = after_restart("raw_pytorch", config)  # [ddp] torchrun has replaced a dead process
    _, saved = resume_from("raw_pytorch", config)  # [resume] empty for a new run
    device = devices.choose(config)  # [device] one name for all that follows
    run_dir = create_run_dir("raw_pytorch", config)
    distributed.start(device)  # [ddp] from here on, all processes pass the same lines
    run_dir = distributed.broadcast(run_dir)  # [ddp] the first process has made it

    # [seed] Before the weights are drawn.
    random.seed(config.seed)
    numpy.random.seed(config.seed)
    torch.manual_seed(config.seed)

    # [data] The files are prepared once on each machine, and read in every process.
    data = ImageData(**config.data_hparams(), device=device, fast_dev_run=config.fast_dev_run)
    data.prepare_data()
    data.setup("fit")
    train_loader = data.train_dataloader()
    val_loader = data.val_dataloader()

    module = ImageClassifier(**config.module_hparams())
    module.to(device)  # [device] before the optimizer is made, which holds on to these tensors
    max_epochs = 1 if config.fast_dev_run else config.max_epochs
    # [accumulate] The last window of an epoch makes a step, too.
    steps_per_epoch = math.ceil(len(train_loader) / config.accumulate_grad_batches)
    optimizer, scheduler = module.configure_optimizers(total_steps=steps_per_epoch * max_epochs)
    precision = Precision(config.precision, device)  # [precision] the dtype, and a loss scaler
    scaler = precision.scaler  # [precision] hands everything through, unless it is 16-mixed
    early_stopping = EarlyStopping(config.early_stopping_patience)  # [early-stop] None: never
    finite_loss = FiniteLoss(optimizer, config.log_every_n_steps)
    state = TrainingState(
        config, run_dir, data, module, optimizer, scheduler, scaler, early_stopping, finite_loss
    )
    if saved:
        state.load_state_dict(saved)  # [resume] now that everything with a state is there
    logger = Logger(run_dir, config)  # [log] TensorBoard
    logger.graph(module, device)  # [log] first, since a compiled network cannot be drawn
    if config.compile:
        compile_network(module.net, device)
    network = distributed.wrap(module.net, device)  # [ddp] averages gradients over the processes
    module.net = network  # [ddp] the steps call the wrapper
    bar = ProgressBar(config, total=len(train_loader))  # [progress] in a terminal
    best = run_dir / "checkpoints" / "best.ckpt"
    last = run_dir / "checkpoints" / "last.ckpt"
    interrupt = Interrupt("raw_pytorch", run_dir, config, distributed.any_of)
    interrupt.defer()  # [checkpoint] from here on, a signal waits until last.ckpt is written
    logits: Tensor | None = None
    started = time.perf_counter()
    fit_seconds = 0.0

    while state.epoch < max_epochs and not early_stopping.should_stop:
        if state.batch_idx == 0:
            seed_epoch(config.seed, state.epoch, device)  # [seed] the dropout masks
        train_loader.start_at(state.epoch, state.batch_idx)  # [seed] the order of the batches
        bar.start_epoch(state.epoch, state.batch_idx)  # [progress] one bar for each epoch
        module.train()  # [train] evaluation has switched dropout off
        for batch_idx, batch in enumerate(train_loader, start=state.batch_idx):  # [train] an epoch
            # [log] The rate that the next step uses.
            logger.log_step({"lr": scheduler.get_last_lr()[0]}, state.global_step)
            batch = devices.move(batch, device)  # [device] to where the weights are

            # [accumulate] A window of batches makes one step; the last of an epoch may be shorter.
            is_last_batch = batch_idx + 1 == len(train_loader)
            is_window_full = (batch_idx + 1) % config.accumulate_grad_batches == 0
            is_stepping = is_window_full or is_last_batch
            network.require_backward_grad_sync = is_stepping  # [ddp] once in a window

            with precision.autocast():  # [precision] forward and loss; never backward
                loss = module.training_step(batch, batch_idx)  # [train] forward
            finite_loss.step(loss, state.epoch, batch_idx, state.global_step)
            if batch_idx % config.accumulate_grad_batches == 0:  # [accumulate] a new window
                optimizer.zero_grad()  # [train] or the gradients would add up for ever
            loss_share = loss / config.accumulate_grad_batches  # [accumulate] a mean over batches
            scaler.scale(loss_share).backward()  # [train] [precision] small ones would underflow
            state.batch_idx = batch_idx + 1  # [resume] where the epoch would continue
            bar.step(loss)  # [progress] the loss is read only when the bar is drawn

            if is_stepping:  # [accumulate] and not after every batch
                scaler.unscale_(optimizer)  # [precision] before clipping
                if config.gradient_clip_val is not None:  # [clip] the sum of the window, once
                    torch.nn.utils.clip_grad_norm_(module.parameters(), config.gradient_clip_val)
                scaler.step(optimizer)  # [train] [precision] skips gradients that overflowed
                scaler.update()  # [precision] a smaller scale if they did
                devices.mark_step(device)  # [device] a TPU computes now
                scheduler.step()  # [schedule] once per optimizer step, not per epoch
                scalars = {"train/loss": loss, "epoch": state.epoch}  # [log] at the step's number
                logger.log_step(scalars, state.global_step)  # [log] every log_every_n_steps
                state.global_step += 1  # [train] counts optimizer steps, not batches

            if is_stepping and not is_last_batch:  # [checkpoint] within the epoch
                is_due = checkpoint.is_due(config.checkpoint_every_n_steps, state.global_step)
                if is_due or interrupt.requested():
                    checkpoint.save(state.state_dict(), last)
                    interrupt.leave_if_requested()

        # [validate] On the whole split, with dropout off and without gradients.
        state.validated, logits = evaluate.validate(module, val_loader, device, precision)
        check_val_loss(state.validated["val/loss"], state.epoch)
        fit_seconds = time.perf_counter() - started

        # [log] What is known at an epoch's end stands at its last step.
        logger.log({**state.validated, "epoch": state.epoch}, state.global_step - 1)
        train_accuracy = module.train_accuracy.compute()
        module.train_accuracy.reset()
        logger.log({"train/accuracy": train_accuracy, "epoch": state.epoch}, state.global_step - 1)
        bar.end_epoch(loss, state.validated["val/accuracy"])  # [progress] the accuracy is known now

        # [early-stop] Before the checkpoint, which holds the counter.
        early_stopping.step(state.validated["val/loss"])

        # [checkpoint] The epoch is done: the next one starts at its first batch.
        is_best = state.is_best(state.validated["val/loss"])
        state.epoch += 1
        state.batch_idx = 0
        if not config.fast_dev_run:
            saved = state.state_dict()
            if is_best:
                checkpoint.save(saved, best)
            checkpoint.save(saved, last)
        interrupt.leave_if_requested()

    bar.close()  # [progress] before anything else is printed
    interrupt.finish()  # [checkpoint] from here on, a signal ends the run at once
    if logits is not None:  # [resume] None if the run was stopped after its last epoch
        logger.figures(logits, data, state.global_step - 1)  # [log] of the last validation
    return finish(state, logger, precision, fit_seconds)


def finish(
    state: TrainingState, logger: Logger, precision: Precision, fit_seconds: float
) -> dict[str, Any]:
    """Test the weights of the best epoch, and write the summary of the run."""
    config, data, module = state.config, state.data, state.module
    module.net = distributed.unwrap(module.net)  # [ddp] the names of the weights as they were
    if not config.fast_dev_run:
        best = read_checkpoint(state.run_dir / "checkpoints" / "best.ckpt")
        module.load_state_dict(best["state_dict"])  # [test] not the weights of the last epoch
    tested = evaluate.test(module, data.test_dataloader(), data.device, precision)
    metrics = {**state.validated, **tested}
    logger.log({**tested, "epoch": state.epoch}, state.global_step)
    logger.hyperparameters(config.hparams(), hp_metrics(metrics), state.global_step)
    logger.close()
    device, train_images = data.device, len(data.splits["train"])
    return write_summary(
        "raw_pytorch", state.run_dir, config, module, metrics, device, train_images, fit_seconds
    )
