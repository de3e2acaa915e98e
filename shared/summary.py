"""How a run ends: the fingerprint of its weights, `summary.json`, the predictions, and the closing
lines on the screen, the same for both sides.

The functions that need torch import it themselves, so that a program can print something before
the seconds that this takes."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import ranks
from shared.config import Config
from shared.errors import RunError, counted
from shared.files import write_atomically

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from shared.data import ImageDataset


def final_metrics(validated: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard's HPARAMS page shows of a run."""
    metrics = {**validated, **tested}
    names = ("val/loss", "val/accuracy", "test/loss", "test/accuracy")
    return {f"hp/{name.replace('/', '_')}": float(metrics[name]) for name in names}


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict, sorted by name.

    Equal fingerprints are weights equal to the last bit, whatever device they lie on.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # A zero-dimensional tensor has no bytes to view until it has a dimension.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The versions a result depends on. pytorch_lightning is asked for, not imported: the raw side
    must not pay for it."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "torchmetrics", "pytorch-lightning"):
        with contextlib.suppress(PackageNotFoundError):  # digits need no torchvision
            found[name] = version(name)
    return found


def write_summary(
    side: str,
    run_dir: Path,
    config: Config,
    module: nn.Module,
    train_images: int,
    *,
    device: torch.device,
    world_size: int,
    epochs: int,
    global_step: int,
    validated: Mapping[str, Any],
    tested: Mapping[str, Any],
    fit_seconds: float,
) -> dict[str, Any]:
    """Write `summary.json`, the last file of a run: one without it did not finish.

    Args:
        validated: `val/loss` and `val/accuracy` after the last epoch.
        tested: `test/loss` and `test/accuracy` of the best checkpoint.
        fit_seconds: training and validation of all epochs of this process, checkpoints included.

    Returns:
        What was written; nothing but in the first of several processes.
    """
    from shared.checkpoints import read_checkpoint

    if ranks.rank() > 0:
        return {}
    best: dict[str, Any] = {"epoch": 0, "state_dict": module.state_dict()}
    last = best
    if not config.fast_dev_run:
        best = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
        last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    summary = {
        "implementation": side,
        "run_dir": str(run_dir),
        "dataset": config.dataset,
        "seed": config.seed,
        "device": str(device),
        "world_size": world_size,
        "precision": config.precision,
        "epochs": epochs,
        "global_step": global_step,
        "parameters": sum(p.numel() for p in module.parameters()),
        "train_images": train_images,
        "val_loss": float(validated["val/loss"]),
        "val_accuracy": float(validated["val/accuracy"]),
        "test_loss": float(tested["test/loss"]),
        "test_accuracy": float(tested["test/accuracy"]),
        "best_epoch": best["epoch"],
        "fit_seconds": fit_seconds,
        # Another process has trained a part of a run that was resumed.
        "train_images_per_second": None
        if config.ckpt_path
        else epochs * train_images / fit_seconds,
        "weights_sha256": fingerprint(last["state_dict"]),
        "best_weights_sha256": fingerprint(best["state_dict"]),
        "versions": versions(),
    }
    if not config.fast_dev_run:
        write_atomically(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def print_summary(summary: dict[str, Any]) -> None:
    """The closing lines of a run, the same on both sides, at most 80 columns wide."""
    if not summary:  # in all processes but the first
        return
    s = summary
    device = s["device"] if s["world_size"] == 1 else f"{s['world_size']} × {s['device']}"
    if s["run_dir"].endswith("fast_dev_run"):
        print("fast_dev_run  one batch each of training, validation and testing; nothing written")
        return
    print(f"dataset       {s['dataset']}, {s['train_images']:,} training images, seed {s['seed']}")
    print(f"model         {s['parameters']:,} parameters on {device}, {s['precision']}")
    epochs, steps = counted(s["epochs"], "epoch"), counted(s["global_step"], "step")
    print(f"trained       {epochs}, {steps}, {s['fit_seconds']:.2f} s")
    print(f"validation    accuracy {s['val_accuracy']:.2%}, loss {s['val_loss']:.4f}")
    print(
        f"test          accuracy {s['test_accuracy']:.2%}, loss {s['test_loss']:.4f}, "
        f"weights of epoch {s['best_epoch']}"
    )
    print(f"weights       {s['weights_sha256']}")
    print(f"best weights  {s['best_weights_sha256']}")
    print(f"run folder    {s['run_dir']}")


def print_test(ckpt_path: Path, metrics: Mapping[str, float]) -> None:
    """The result of testing one checkpoint."""
    print(f"checkpoint    {ckpt_path}")
    print(f"test          accuracy {metrics['test/accuracy']:.2%}, loss {metrics['test/loss']:.4f}")


def write_predictions(ckpt_path: Path, split: ImageDataset, probabilities: Tensor) -> Path:
    """Write `predictions.csv` into the run folder of the checkpoint, or beside a file that lies
    in none: index, label, predicted, confidence. Labels are the names of the classes.

    Confidences have nine digits, which tell any two float32 apart.
    """
    folder = ckpt_path.parent.parent if ckpt_path.parent.name == "checkpoints" else ckpt_path.parent
    confidence, predicted = probabilities.max(dim=1)
    if ranks.rank() > 0:
        return folder / "predictions.csv"
    rows = zip(split.labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")  # quotes a name with a comma in it
    writer.writerow(("index", "label", "predicted", "confidence"))
    for index, (label, answer, conf) in enumerate(rows):
        writer.writerow((index, split.classes[label], split.classes[answer], f"{conf:.9g}"))
    write_atomically(folder / "predictions.csv", table.getvalue())
    correct = int((predicted == split.labels).sum())
    print(f"predicted     {len(predicted):,} test images, {correct:,} of them right")
    print(f"written       {folder / 'predictions.csv'}")
    return folder / "predictions.csv"


def print_answers(
    classes: Sequence[str], files: Sequence[str], probabilities: Tensor, problems: Sequence[str]
) -> None:
    """One line for each picture: what it shows, with which confidence, and the file.

    Raises:
        RunError: after the answers, if there are `problems`: a line on each unreadable picture.
    """
    width = max(map(len, classes))
    for file, row in zip(files, probabilities, strict=True):
        confidence, answer = row.max(dim=0)
        print(f"{classes[answer]:{width}}  {confidence:6.1%}  {file}")
    if problems:
        raise RunError("; ".join(problems))
