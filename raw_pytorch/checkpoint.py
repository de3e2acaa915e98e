"""[checkpoint] [resume] Saving and restoring, by hand, in the format of Lightning's checkpoints, so
that each side can go on where the other stopped.

Lightning: ModelCheckpoint(...), trainer.fit(ckpt_path=...)
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from raw_pytorch.data import ImageData
from shared.data import ResumableLoader
from shared.results import DATA_HPARAMS, MODULE_HPARAMS, write_atomically


def state(
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    data: ImageData,
    train_loader: ResumableLoader,
    epoch: int,
    global_step: int,
    best_loss: float,
    run_dir: Path,
) -> dict[str, Any]:
    """Everything a run needs to go on, at the end of an epoch, after validation."""
    return {
        "epoch": epoch,
        "global_step": global_step,
        # The version whose format this is: Lightning migrates checkpoints of older ones.
        "pytorch-lightning_version": "2.6.6",
        "state_dict": module.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        MODULE_HPARAMS: module.hparams,
        DATA_HPARAMS: data.hparams,
        "loops": _loops(epoch, global_step, train_loader),
        "callbacks": _callbacks(best_loss, run_dir / "checkpoints"),
    }


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that an older one stays whole until the new one is."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def restore(
    saved: dict[str, Any],
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    train_loader: ResumableLoader,
    run_dir: Path,
) -> tuple[int, int, float]:
    """Put a checkpoint of either side back.

    Returns:
        The epoch to go on with, the optimizer steps done, and the best validation loss so far. The
        last is infinite in a new run folder, as with Lightning: there is no best.ckpt in it yet.
    """
    module.load_state_dict(saved["state_dict"])
    optimizer.load_state_dict(saved["optimizer_states"][0])
    scheduler.load_state_dict(saved["lr_schedulers"][0])
    place = saved["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    train_loader.load_state_dict(place)
    best = saved["callbacks"][BEST_KEY]
    same_folder = best["dirpath"] == str((run_dir / "checkpoints").resolve())
    best_loss = float(best["best_model_score"]) if same_folder else math.inf
    return place["epoch"], saved["global_step"], best_loss


# Lightning's names of the states of its two ModelCheckpoint callbacks (`state_key`).
_KEY = (
    "ModelCheckpoint{{'monitor': {}, 'mode': 'min', 'every_n_train_steps': 0, "
    "'every_n_epochs': 1, 'train_time_interval': None}}"
)
BEST_KEY, LAST_KEY = _KEY.format("'val/loss'"), _KEY.format("None")


def _callbacks(best_loss: float, folder: Path) -> dict[str, Any]:
    folder = folder.resolve()
    best, last = str(folder / "best.ckpt"), str(folder / "last.ckpt")
    score = torch.tensor(best_loss)
    common = {"dirpath": str(folder), "last_model_path": ""}
    return {
        BEST_KEY: {
            **common,
            "monitor": "val/loss",
            "best_model_score": score,
            "best_model_path": best,
            "current_score": score,
            "best_k_models": {best: score},
            "kth_best_model_path": best,
            "kth_value": score,
        },
        LAST_KEY: {
            **common,
            "monitor": None,
            "best_model_score": None,
            "best_model_path": last,
            "current_score": None,
            "best_k_models": {},
            "kth_best_model_path": "",
            "kth_value": torch.tensor(math.inf),
        },
    }


def _loops(epoch: int, global_step: int, train_loader: ResumableLoader) -> dict[str, Any]:
    """Lightning's progress counters as it writes them at the end of an epoch: all that was begun is
    done, except that this epoch counts as processed and not yet as completed."""
    batches = len(train_loader)
    all_batches = batches * (epoch + 1)
    steps = global_step // (epoch + 1)
    names = ("ready", "started", "processed", "completed")

    def counts(current: int, total: int, names: tuple[str, ...] = names) -> dict[str, Any]:
        return {
            "current": dict.fromkeys(names, current),
            "total": dict.fromkeys(names, total),
        }

    optimizer = {
        "step": counts(steps, global_step, ("ready", "completed")),
        "zero_grad": counts(steps, global_step, ("ready", "started", "completed")),
    }
    epochs = counts(epoch + 1, epoch + 1)
    epochs["current"]["completed"] = epochs["total"]["completed"] = epoch
    idle = {"state_dict": {}, "batch_progress": {**counts(0, 0), "is_last_batch": False}}
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": [train_loader.state_dict()]},
            "epoch_progress": epochs,
            "epoch_loop.state_dict": {"_batches_that_stepped": global_step},
            "epoch_loop.batch_progress": {**counts(batches, all_batches), "is_last_batch": True},
            "epoch_loop.scheduler_progress": counts(steps, global_step, ("ready", "completed")),
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": optimizer},
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": counts(
                0, 0, ("ready", "completed")
            ),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": {**counts(0, 0), "is_last_batch": True},
        },
        "validate_loop": idle,
        "test_loop": idle,
        "predict_loop": {"state_dict": {}, "batch_progress": counts(0, 0)},
    }
