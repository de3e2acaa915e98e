"""Training: THE loop, straight down the page.

python -m raw_pytorch.train --dataset mnist --max_epochs 1
"""

from __future__ import annotations

import random
import time
from typing import Any

from shared import results
from shared.config import Config, parse_args, run


def fit(config: Config) -> dict[str, Any]:
    """Train, then test the best checkpoint.

    Returns:
        The content of `summary.json`.
    """
    import numpy
    import torch

    from raw_pytorch import checkpoint, devices
    from raw_pytorch.data import ImageData
    from raw_pytorch.evaluate import evaluate
    from raw_pytorch.logger import Logger
    from raw_pytorch.module import ImageClassifier
    from raw_pytorch.progress import ProgressBar
    from shared.model import epoch_seed

    saved = None
    if config.ckpt_path is not None:
        ckpt_path = results.find_checkpoint("raw_pytorch", config)
        saved = results.check_checkpoint(ckpt_path, config, resume=True)  # [resume]
    device = devices.choose(config.accelerator)  # [device]
    run_dir = results.create_run_dir("raw_pytorch", config)
    random.seed(config.seed)  # [seed] every generator that some library may draw from
    numpy.random.seed(config.seed)
    torch.manual_seed(config.seed)

    data = ImageData(
        config.dataset, config.data_dir, config.batch_size, config.seed, config.num_workers, device
    )
    data.prepare_data()  # [data]
    data.setup()
    train_loader, val_loader = data.train_dataloader(), data.val_dataloader()

    module = ImageClassifier(
        config.lr, config.weight_decay, config.dropout, config.max_epochs, config.seed
    )
    module.to(device)  # [device] before the optimizer is made: it holds on to the parameters it sees
    val_metrics = {"val/loss": module.val_loss, "val/accuracy": module.val_accuracy}
    test_metrics = {"test/loss": module.test_loss, "test/accuracy": module.test_accuracy}
    optimizer, scheduler = module.configure_optimizers(len(train_loader))
    logger = Logger(run_dir, config.log_every_n_steps)
    bar = ProgressBar(config.progress_bar, len(train_loader))

    start_epoch, global_step, best_loss, validated = 0, 0, float("inf"), None
    if saved is not None:  # [resume]
        start_epoch, global_step, best_loss = checkpoint.restore(
            saved, module, optimizer, scheduler, train_loader, run_dir
        )

    started = time.perf_counter()
    for epoch in range(start_epoch, config.max_epochs):  # [train]
        torch.manual_seed(epoch_seed(config.seed, epoch))  # [seed] dropout masks
        train_loader.sampler.set_epoch(epoch)  # [seed] order of the batches
        bar.start_epoch(epoch)
        module.train()
        for batch_idx, batch in enumerate(train_loader):
            if logger.is_due(global_step):
                logger.log({"lr": scheduler.get_last_lr()[0]}, global_step)
            batch = devices.move(batch, device)  # [device]
            loss = module.training_step(batch, batch_idx)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()  # [schedule] once per optimizer step
            bar.step(loss)  # [progress]
            if logger.is_due(global_step):  # [log]
                logger.log({"train/loss": loss.item(), "epoch": epoch}, global_step)
            global_step += 1

        # [validate]
        validated = evaluate(module, module.validation_step, val_loader, val_metrics, device)
        logger.log({**validated, "epoch": epoch}, global_step - 1)
        train_accuracy = module.train_accuracy.compute().item()
        module.train_accuracy.reset()
        logger.log({"train/accuracy": train_accuracy, "epoch": epoch}, global_step - 1)
        bar.end_epoch(loss, validated["val/accuracy"])

        # [checkpoint]
        is_best = validated["val/loss"] < best_loss
        best_loss = min(validated["val/loss"], best_loss)
        state = checkpoint.state(
            module, optimizer, scheduler, data, train_loader, epoch, global_step, best_loss, run_dir
        )
        if is_best:
            checkpoint.save(state, run_dir / "checkpoints" / "best.ckpt")
        checkpoint.save(state, run_dir / "checkpoints" / "last.ckpt")
    fit_seconds = time.perf_counter() - started
    bar.close()
    weights = results.fingerprint(module.state_dict())
    if validated is None:  # [resume] of a run that was stopped after its last epoch
        validated = evaluate(module, module.validation_step, val_loader, val_metrics, device)

    # [test] The weights of the best epoch, not those of the last.
    best_path = run_dir / "checkpoints" / "best.ckpt"
    module.load_state_dict(results.read_checkpoint(best_path)["state_dict"])
    tested = evaluate(module, module.test_step, data.test_dataloader(), test_metrics, device)
    logger.log({**tested, "epoch": config.max_epochs}, global_step)
    logger.close()
    return results.write_summary(
        "raw_pytorch",
        run_dir,
        config,
        device=str(device),
        world_size=1,
        epochs=config.max_epochs,
        global_step=global_step,
        parameters=sum(p.numel() for p in module.parameters()),
        train_images=len(data.splits["train"]),
        validated=validated,
        tested=tested,
        fit_seconds=fit_seconds,
        weights_sha256=weights,
    )


def main() -> None:
    config, _ = parse_args("raw_pytorch.train")
    results.print_summary(run(lambda: fit(config)))


if __name__ == "__main__":
    main()
