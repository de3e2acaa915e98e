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
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import ranks
from shared.config import SILENT, Config
from shared.errors import RunError, counted
from shared.files import RUNS, SIDES, versions_of, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from shared.data import ImageDataset


def hp_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard's HPARAMS page shows of a run: the last points of these curves."""
    names = ("val/loss", "val/accuracy", "test/loss", "test/accuracy")
    return {name: float(metrics[name]) for name in names}


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
    metrics: Mapping[str, Any],
    device: torch.device,
    train_images: int,
    fit_seconds: float,
) -> dict[str, Any]:
    """Write `summary.json`, the last file of a run: one without it did not finish.

    Args:
        metrics: `val/loss` and `val/accuracy` after the last epoch, `test/loss` and
            `test/accuracy` of the best checkpoint.
        fit_seconds: from before the first batch of this process to after its last validation.

    Returns:
        What was written; nothing but in the first of several processes.
    """
    from shared.checkpoint_format import DATA_STATE
    from shared.checkpoints import read_checkpoint

    if ranks.rank() > 0:
        return {}
    # fast_dev_run writes no checkpoints.
    best: dict[str, Any] = {"epoch": 0, "state_dict": module.state_dict()}
    last: dict[str, Any] = {**best, "global_step": 1, DATA_STATE: {"epoch": 1}}
    if not config.fast_dev_run:
        best = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
        last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    epochs = last[DATA_STATE]["epoch"]
    summary = {
        "implementation": side,
        "run_dir": str(run_dir),
        "dataset": config.dataset,
        "seed": config.seed,
        "device": str(device),
        "world_size": config.world_size,
        "precision": config.precision,
        "epochs": epochs,
        "global_step": last["global_step"],
        "parameters": sum(p.numel() for p in module.parameters()),
        "train_images": train_images,
        "val_loss": float(metrics["val/loss"]),
        "val_accuracy": float(metrics["val/accuracy"]),
        "test_loss": float(metrics["test/loss"]),
        "test_accuracy": float(metrics["test/accuracy"]),
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


def print_start(config: Config) -> None:
    """Tell a terminal what is about to be trained: the libraries take seconds to load, and say
    nothing. A process that this command has started itself stays silent."""
    if sys.stdout.isatty() and ranks.rank() == 0 and not ranks.launched():
        epochs = counted(config.max_epochs, "epoch")
        own = config.model != "ConvNet"
        model = config.model if own else f"ConvNet of width {config.width}"
        print(f"training      {config.dataset}, {model}, {epochs}", flush=True)


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
    other = newest_twin(s["implementation"], Path(s["run_dir"]))
    if other is not None:
        names = ("weights_sha256", "best_weights_sha256")
        is_equal = all(s[name] == other[name] for name in names)
        found = "the same weights, to the last bit" if is_equal else "other weights"
        print(f"{other['implementation']:13} {found}, in {Path(other['run_dir']).name}")


def newest_twin(side: str, run_dir: Path) -> dict[str, Any] | None:
    """The summary of the other side's newest finished run of the same configuration, if there is
    one in the folder where runs lie by default."""
    import yaml

    def configuration(folder: Path) -> dict[str, Any]:
        values = yaml.safe_load((folder / "config.yaml").read_text())
        return {name: value for name, value in values.items() if name not in SILENT}

    other = next(name for name in SIDES if name != side)
    with contextlib.suppress(OSError, ValueError, AttributeError, yaml.YAMLError):
        mine = configuration(run_dir)
        parent = RUNS / other / mine["dataset"]
        for version in sorted(versions_of(parent), reverse=True):
            folder = parent / f"version_{version}"
            if (folder / "summary.json").is_file() and configuration(folder) == mine:
                summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
                return {**summary, "run_dir": str(folder)}
    return None


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
