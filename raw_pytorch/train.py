"""Training: THE loop, straight down the page.

python -m raw_pytorch.train --dataset mnist --max_epochs 1
"""

from __future__ import annotations

import time
from typing import Any

from shared import checkpoints, run_folder, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run


def fit(config: Config) -> dict[str, Any]:
    """Train, then test the best checkpoint. Returns the content of `summary.json`."""
    import torch

    from raw_pytorch import checkpoint, devices, distributed, evaluate
    from raw_pytorch.data import ImageData
    from raw_pytorch.early_stopping import EarlyStopping
    from raw_pytorch.logger import Logger
    from raw_pytorch.module import ImageClassifier
    from raw_pytorch.precision import Precision
    from raw_pytorch.progress import ProgressBar
    from shared.finite import FiniteLoss
    from shared.seeds import seed_epoch, seed_everything
    from shared.signals import Interrupt

    config = run_folder.after_restart("raw_pytorch", config)  # [ddp] after a process has died
    saved = checkpoint.load(config)  # [resume] None for a new run
    device = devices.choose(config)  # [device] one name for all that follows
    precision = Precision(config.precision, device)  # [precision] the dtype, and a loss scaler
    run_dir = run_folder.create_run_dir("raw_pytorch", config)
    distributed.start(device)  # [ddp] From here on, all processes come by the same places.
    run_dir, rank = distributed.broadcast(run_dir), distributed.rank()
    seed_everything(config.seed)  # [seed] before the weights are drawn
    data = ImageData(**config.data_hparams(), device=device)
    data.prepare_data()  # [data] before anybody loads it
    data.setup()
    train_loader, val_loader = data.train_dataloader(), data.val_dataloader()

    module = ImageClassifier(**config.module_hparams())
    module.to(device)  # [device] before the optimizer is made, which holds on to what it sees
    optimizer, scheduler = module.configure_optimizers(len(train_loader))
    replica = distributed.wrap(module, device)  # [ddp] averages gradients
    finite_loss = FiniteLoss(config.log_every_n_steps)
    logger = Logger(run_dir, config.log_every_n_steps, rank == 0 and not config.fast_dev_run)
    bar = ProgressBar(config.progress_bar and rank == 0, len(train_loader))
    early_stopping = EarlyStopping(config.early_stopping_patience)  # [early-stop] None: never
    interrupt = Interrupt("raw_pytorch", run_dir, config, distributed.any_of)
    max_epochs, limit = (1, 1) if config.fast_dev_run else (config.max_epochs, None)
    num_batches = limit or len(train_loader)
    epoch, global_step, best_loss, validated = 0, 0, float("inf"), None
    parts = {
        "module": module, "optimizer": optimizer, "scheduler": scheduler, "precision": precision,
        "early_stopping": early_stopping, "finite_loss": finite_loss, "data": data,
    }  # fmt: skip
    if saved is not None:  # [resume] last, when all that has a state is there
        epoch, global_step, best_loss = checkpoint.restore(saved, parts, run_dir)
    best, last = (run_dir / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    started = time.perf_counter()
    logger.graph(module, device)
    devices.compile_network(module, device)  # only now: a compiled one cannot be drawn
    interrupt.defer()
    while epoch < max_epochs and not early_stopping.should_stop:  # [train] new or resumed
        first_batch = train_loader.start_batch  # [resume] 0, but in an epoch that was interrupted
        if first_batch == 0:
            seed_epoch(config.seed, epoch, device)  # [seed] dropout masks
        train_loader.sampler.set_epoch(epoch)  # [seed] order of the batches
        bar.start_epoch(epoch, first_batch)
        module.train()
        for batch_idx, batch in enumerate(train_loader, first_batch):
            logger.log_step({"lr": scheduler.get_last_lr()[0]}, global_step)  # [log] not the next
            batch = devices.move(batch, device)  # [device] to where the weights are
            is_last = batch_idx + 1 == num_batches
            is_full = is_last or (batch_idx + 1) % config.accumulate_grad_batches == 0
            with distributed.synchronized(replica, is_full):  # [ddp] once in a window
                with precision.autocast():  # [precision] forward and loss; never backward
                    loss = replica("training_step", batch, batch_idx)
                finite_loss.step(loss, global_step, epoch, batch_idx, optimizer)
                if batch_idx % config.accumulate_grad_batches == 0:
                    optimizer.zero_grad()
                # [accumulate] A mean over the window, as if it were one batch.
                precision.scaler.scale(loss / config.accumulate_grad_batches).backward()
            bar.step(loss)  # [progress] reads the loss only when it is drawn
            if not is_full:
                continue
            precision.scaler.unscale_(optimizer)  # [precision] before clipping
            if config.gradient_clip_val is not None:  # [clip] the sum of the window, once
                torch.nn.utils.clip_grad_norm_(module.parameters(), config.gradient_clip_val)
            precision.scaler.step(optimizer)
            precision.scaler.update()
            devices.mark_step(device)
            scheduler.step()  # [schedule] once per optimizer step
            logger.log_step({"train/loss": loss, "epoch": epoch}, global_step)
            global_step += 1
            if is_last:
                break
            every_n, stop = config.checkpoint_every_n_steps, interrupt.requested()
            if stop or (every_n and global_step % every_n == 0):
                state = checkpoint.state(parts, epoch, global_step, best_loss, run_dir)
                checkpoint.save(state, last)  # [checkpoint] within the epoch
            if stop:
                interrupt.leave()

        # [validate] after every epoch
        validated = evaluate.validate(module, val_loader, device, precision, limit, replica)
        logger.log({**validated, "epoch": epoch}, global_step - 1)
        train_accuracy = module.train_accuracy.compute().item()
        logger.log({"train/accuracy": train_accuracy, "epoch": epoch}, global_step - 1)
        module.train_accuracy.reset()
        bar.end_epoch(loss, validated["val/accuracy"])

        val_loss = validated["val/loss"]
        early_stopping.step(val_loss)  # [early-stop] before its counter is saved
        if not config.fast_dev_run:  # [checkpoint] after the epoch
            is_best, best_loss = val_loss < best_loss, min(val_loss, best_loss)
            state = checkpoint.state(parts, epoch, global_step, best_loss, run_dir)
            if is_best:
                checkpoint.save(state, best)
            checkpoint.save(state, last)
        epoch += 1
        if interrupt.requested():
            interrupt.leave()
    logger.figures(module, data, global_step - 1)
    fit_seconds = time.perf_counter() - started
    bar.close()
    interrupt.finish()
    if validated is None:  # [resume] of a run that was stopped after its last epoch
        validated = evaluate.validate(module, val_loader, device, precision, limit)

    # [test] The weights of the best epoch, not those of the last.
    if not config.fast_dev_run:
        module.load_state_dict(checkpoints.read_checkpoint(best)["state_dict"])
    tested = evaluate.test(module, data.test_dataloader(), device, precision, limit)
    logger.log({**tested, "epoch": epoch}, global_step)
    logger.hyperparameters(config.hparams(), summary.final_metrics(validated, tested))
    logger.close()
    return summary.write_summary(
        "raw_pytorch", run_dir, config, module, len(data.splits["train"]),
        device=device, world_size=distributed.world_size(), epochs=epoch,
        global_step=global_step, validated=validated, tested=tested, fit_seconds=fit_seconds,
    )  # fmt: skip


def main() -> None:
    config, _ = parse_args("raw_pytorch.train")
    from raw_pytorch.distributed import launch  # torch takes seconds, and a wrong flag need not

    run(lambda: launch("raw_pytorch.train", config) or summary.print_summary(fit(config)))


if __name__ == "__main__":
    main()
