"""[checkpoint] [resume] What only Lightning's format asks for. With it, each side resumes the
other's runs; a raw loop by itself needs none of this.

Lightning: the Trainer writes and reads these entries by itself
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raw_pytorch.early_stopping import EarlyStopping
from raw_pytorch.metrics import MeanMetric
from shared import ranks
from shared.checkpoint_format import BEST_KEY, LAST_KEY, STOPPING_KEY


def callbacks(best_val_loss: float, folder: Path, stopping: EarlyStopping) -> dict[str, Any]:
    """The states of Lightning's two ModelCheckpoint callbacks and of its EarlyStopping."""
    folder = folder.resolve()
    best, last = str(folder / "best.ckpt"), str(folder / "last.ckpt")
    has_best = math.isfinite(best_val_loss)
    score = torch.tensor(best_val_loss) if has_best else None
    common = {"dirpath": str(folder), "last_model_path": ""}
    states: dict[str, Any] = {
        BEST_KEY: {
            **common,
            "monitor": "val/loss",
            "best_model_score": score,
            "best_model_path": best if has_best else "",
            "current_score": score,
            "best_k_models": {best: score} if has_best else {},
            "kth_best_model_path": best if has_best else "",
            "kth_value": torch.tensor(best_val_loss),
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
        states[STOPPING_KEY] = {
            "wait_count": stopping.wait_count,
            "best_score": torch.tensor(stopping.best_score),
            "patience": stopping.patience,
            "stopped_epoch": 0,
            "stopping_reason": 0,
            "stopping_reason_message": None,
        }
    return states


def best_val_loss(saved: dict[str, Any], folder: Path) -> float:
    """The least validation loss so far. It is infinite in a new run folder, as with Lightning:
    there is no best.ckpt in it yet."""
    state = saved["callbacks"][BEST_KEY]
    is_same_folder = state["dirpath"] == str(folder.resolve())
    score = state["best_model_score"] if is_same_folder else None
    return math.inf if score is None else float(score)


def mean(metric: MeanMetric) -> dict[str, Tensor]:
    """The sums as torchmetrics keeps them; every process calls this."""
    total, weight = metric.sums()
    return {"mean_value": total, "weight": weight}


def restore_mean(metric: MeanMetric, saved: dict[str, Tensor]) -> None:
    """Put the sums back. Of several processes, the first takes all of them: the next average is
    over all processes again."""
    if ranks.rank() == 0:
        metric.total, metric.weight = saved["mean_value"], int(saved["weight"])


def restore_early_stopping(stopping: EarlyStopping, saved: dict[str, Any]) -> None:
    if (state := saved["callbacks"].get(STOPPING_KEY)) is not None:
        stopping.wait_count, stopping.best_score = state["wait_count"], float(state["best_score"])


def scaler(scaler: torch.amp.GradScaler) -> dict[str, Any]:
    """The state of the loss scaler, if there is one."""
    return {"MixedPrecision": scaler.state_dict()} if scaler.is_enabled() else {}


def restore_scaler(scaler: torch.amp.GradScaler, saved: dict[str, Any]) -> None:
    if "MixedPrecision" in saved:
        scaler.load_state_dict(saved["MixedPrecision"])


def loops(
    place: dict[str, int], batches: int, global_step: int, accumulate_grad_batches: int
) -> dict[str, Any]:
    """Lightning's progress counters, as it writes them at the same moment.

    At the end of an epoch, everything that was begun is done, except that the epoch counts as
    processed and not yet as completed. Within an epoch, a callback writes the checkpoint at the end
    of a batch, before the Trainer counts that batch as completed.

    Args:
        place: the epoch and the batch in it that come next.
        batches: the batches of a whole epoch.
        global_step: the optimizer steps that are done.
    """
    within = place["batch_idx"] > 0
    epoch = place["epoch"] if within else place["epoch"] - 1
    done = place["batch_idx"] if within else batches
    steps = math.ceil(done / accumulate_grad_batches)

    def counts(current: int, total: int, names: str) -> dict[str, dict[str, int]]:
        return {
            "current": dict.fromkeys(names.split(), current),
            "total": dict.fromkeys(names.split(), total),
        }

    everything = "ready started processed completed"
    batch_progress = counts(done, epoch * batches + done, everything)
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
    none = counts(0, 0, everything)
    idle = {"state_dict": {}, "batch_progress": {**none, "is_last_batch": False}}
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": [place]},
            "epoch_progress": epoch_progress,
            "epoch_loop.state_dict": {"_batches_that_stepped": global_step - within},
            "epoch_loop.batch_progress": {**batch_progress, "is_last_batch": not within},
            "epoch_loop.scheduler_progress": step_progress,
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": optimizer},
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": counts(0, 0, "ready completed"),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": {**none, "is_last_batch": True},
        },
        "validate_loop": idle,
        "test_loop": idle,
        "predict_loop": {"state_dict": {}, "batch_progress": none},
    }
