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

from raw_pytorch import distributed
from raw_pytorch.early_stopping import EarlyStopping
from shared.checkpoint_format import BEST_KEY, LAST_KEY, LIGHTNING_VERSION
from shared.checkpoints import (
    DATA_HPARAMS,
    DATA_STATE,
    MODULE_HPARAMS,
    STOPPING_KEY,
    check_checkpoint,
    find_checkpoint,
    is_within_epoch,
)
from shared.config import Config
from shared.data import ResumableLoader
from shared.files import write_atomically
from shared.seeds import generator_state, metric_state, restore_generators, restore_metric


def state(
    parts: dict[str, Any], epoch: int, global_step: int, best_loss: float, run_dir: Path
) -> dict[str, Any]:
    """Everything a run needs to go on, between two optimizer steps or after a validation.

    Args:
        parts: the objects of the loop that have a state of their own, by name.
        epoch: the epoch that runs, or has just ended.

    Raises:
        RunError: a loss was NaN or infinite: the weights are not to be kept.
    """
    parts["finite_loss"].check()
    module, train_loader = parts["module"], parts["data"].train_loader
    saved = {
        "epoch": epoch,
        "global_step": global_step,
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": module.state_dict(),
        "optimizer_states": [parts["optimizer"].state_dict()],
        "lr_schedulers": [parts["scheduler"].state_dict()],
        MODULE_HPARAMS: module.hparams,
        DATA_HPARAMS: parts["data"].hparams,
        "loops": _loops(epoch, global_step, train_loader, module.hparams),
        "callbacks": _callbacks(best_loss, run_dir / "checkpoints", parts["early_stopping"]),
        DATA_STATE: train_loader.state_dict(),
        # What Lightning's own checkpoint lacks, and a run stopped within an epoch needs.
        "generators": generator_state(parts["data"].device),
        "train_accuracy": metric_state(module.train_accuracy),
    }
    if scaler := parts["precision"].state_dict():
        saved["MixedPrecision"] = scaler
    return saved


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that an older one stays whole until the new one is."""
    if distributed.rank() == 0:  # [ddp] All have the same weights, and one writes them.
        buffer = io.BytesIO()
        torch.save(_on_cpu(state), buffer)
        write_atomically(path, buffer.getvalue())
    distributed.barrier()  # nobody reads it before it is there


def _on_cpu(value: Any) -> Any:
    """[device] A tensor on a TPU could be loaded on a machine with one only."""
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_on_cpu(part) for part in value]
    is_on_tpu = isinstance(value, torch.Tensor) and value.device.type == "xla"
    return value.cpu() if is_on_tpu else value


def load(config: Config) -> dict[str, Any] | None:
    """Read the checkpoint that `--ckpt_path` means, of either side, if it means one.

    Raises:
        UsageError: there is none, or it comes from another recipe.
        RunError: it is damaged.
    """
    if config.ckpt_path is None:
        return None
    return check_checkpoint(find_checkpoint("raw_pytorch", config), config, resume=True)


def restore(saved: dict[str, Any], parts: dict[str, Any], run_dir: Path) -> tuple[int, int, float]:
    """Put a checkpoint of either side back.

    Returns:
        The epoch to go on with, the optimizer steps done, and the best validation loss so far. The
        last is infinite in a new run folder, as with Lightning: there is no best.ckpt in it yet.
    """
    device = parts["data"].device
    parts["module"].load_state_dict(saved["state_dict"])
    parts["optimizer"].load_state_dict(saved["optimizer_states"][0])
    parts["scheduler"].load_state_dict(saved["lr_schedulers"][0])
    parts["precision"].load_state_dict(saved.get("MixedPrecision", {}))
    if STOPPING_KEY in saved["callbacks"]:
        parts["early_stopping"].load_state_dict(saved["callbacks"][STOPPING_KEY])
    parts["data"].train_loader.load_state_dict(saved[DATA_STATE])
    if is_within_epoch(saved):  # at the start of an epoch, both begin anew
        restore_metric(parts["module"].train_accuracy, saved["train_accuracy"])
        restore_generators(saved["generators"], device)
    best = saved["callbacks"][BEST_KEY]
    same_folder = best["dirpath"] == str((run_dir / "checkpoints").resolve())
    score = best["best_model_score"] if same_folder else None
    return (
        saved[DATA_STATE]["epoch"],
        saved["global_step"],
        math.inf if score is None else float(score),
    )


def _callbacks(best_loss: float, folder: Path, stopping: EarlyStopping) -> dict[str, Any]:
    folder = folder.resolve()
    best, last = str(folder / "best.ckpt"), str(folder / "last.ckpt")
    has_best = math.isfinite(best_loss)
    score = torch.tensor(best_loss) if has_best else None
    common = {"dirpath": str(folder), "last_model_path": ""}
    callbacks = {
        BEST_KEY: {
            **common,
            "monitor": "val/loss",
            "best_model_score": score,
            "best_model_path": best if has_best else "",
            "current_score": score,
            "best_k_models": {best: score} if has_best else {},
            "kth_best_model_path": best if has_best else "",
            "kth_value": torch.tensor(best_loss),
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
    if stopping.patience is not None:
        callbacks[STOPPING_KEY] = {
            "wait_count": stopping.wait_count,
            "best_score": torch.tensor(stopping.best_score),
            "patience": stopping.patience,
            "stopped_epoch": 0,
            "stopping_reason": 0,
            "stopping_reason_message": None,
        }
    return callbacks


def _loops(
    epoch: int, global_step: int, train_loader: ResumableLoader, hparams: dict[str, Any]
) -> dict[str, Any]:
    """Lightning's progress counters, as it writes them at the same moment.

    At the end of an epoch, all that was begun is done, except that the epoch counts as processed
    and not yet as completed. Within an epoch, a checkpoint is written by a callback at the end of a
    batch, before the Trainer counts that batch as completed.
    """
    batches = train_loader.batch_idx
    steps = math.ceil(batches / hparams["accumulate_grad_batches"])
    before = epoch * len(train_loader)
    within = batches < len(train_loader)

    def counts(current: int, total: int, names: str) -> dict[str, Any]:
        return {
            "current": dict.fromkeys(names.split(), current),
            "total": dict.fromkeys(names.split(), total),
        }

    everything = "ready started processed completed"
    batch_progress = counts(batches, before + batches, everything)
    epoch_progress = counts(epoch + 1, epoch + 1, everything)
    for key in ("current", "total"):
        batch_progress[key]["completed"] -= within
        epoch_progress[key]["processed"] -= within
        epoch_progress[key]["completed"] = epoch
    step_progress = counts(steps, global_step, "ready completed")
    optimizer = {
        "step": step_progress,
        "zero_grad": counts(steps, global_step, "ready started completed"),
    }
    idle = {
        "state_dict": {},
        "batch_progress": {**counts(0, 0, everything), "is_last_batch": False},
    }
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": [train_loader.state_dict()]},
            "epoch_progress": epoch_progress,
            "epoch_loop.state_dict": {"_batches_that_stepped": global_step - within},
            "epoch_loop.batch_progress": {**batch_progress, "is_last_batch": not within},
            "epoch_loop.scheduler_progress": step_progress,
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": optimizer},
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": counts(0, 0, "ready completed"),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": {
                **counts(0, 0, everything),
                "is_last_batch": True,
            },
        },
        "validate_loop": idle,
        "test_loop": idle,
        "predict_loop": {"state_dict": {}, "batch_progress": counts(0, 0, everything)},
    }
