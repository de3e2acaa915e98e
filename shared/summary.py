"""What a run leaves behind, the same for both sides: its folder, its summary, the fingerprint of
its weights, and the closing lines on the screen."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pickle
import platform
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import ranks
from shared.config import Config, RunError, UsageError, shown, to_yaml

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

RUNS = Path("runs")
SIDES = ("raw_pytorch", "lightning")


def create_run_dir(side: str, config: Config) -> Path:
    """Make the folder of a run that trains, with its resolved `config.yaml`.

    A run that resumes from `last` or `best` goes on in the folder of that checkpoint. Otherwise the
    folder is `--run_dir`, or the next free version; it is claimed by making it, so two runs started
    at the same moment never share one.

    Of several processes, the first one makes it; the others hear from it which one it is.

    Raises:
        UsageError: `--run_dir` holds a run already, and this one does not resume it.
    """
    if config.fast_dev_run or ranks.rank() > 0:
        return RUNS / side / config.dataset / "fast_dev_run"  # only a name: nothing is written
    if config.ckpt_path in ("last", "best"):
        run_dir = find_checkpoint(side, config).parent.parent
        # The summary says that a run has finished; from here on this one has not.
        (run_dir / "summary.json").unlink(missing_ok=True)
    elif config.run_dir is not None:
        run_dir = Path(config.run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        if not _claim(run_dir) and not _is_ours(run_dir):
            raise UsageError(
                f"--run_dir: {run_dir} holds a run already; give another folder, or resume it with "
                "--ckpt_path last"
            )
    else:
        run_dir = _next_version(RUNS / side / config.dataset)
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    _remove_partial(run_dir)
    if ranks.run_id():
        write_atomically(run_dir / RUN_ID, ranks.run_id())
    resolved = dataclasses.replace(config, run_dir=str(run_dir), ckpt_path=None)
    write_atomically(run_dir / "config.yaml", to_yaml(resolved))
    return run_dir


def _claim(run_dir: Path) -> bool:
    """Take the folder for a new run. Of several that try at the same moment, one gets it: only one
    can make the folder within."""
    if (run_dir / "config.yaml").exists():
        return False
    try:
        (run_dir / "checkpoints").mkdir()
    except FileExistsError:
        return False
    return True


def _remove_partial(run_dir: Path) -> None:
    """Remove what a killed run has left of the files that it was writing. Not of predictions.csv:
    another program may be writing that one now."""
    parts = [run_dir.glob(f".{name}-????????") for name in ("config.yaml", "summary.json", RUN_ID)]
    parts += [(run_dir / "checkpoints").glob(f".{name}.ckpt-????????") for name in ("last", "best")]
    for path in itertools.chain(*parts):
        path.unlink(missing_ok=True)


# In a run folder: by which torchrun the run was started.
RUN_ID = ".torchrun"


def _is_ours(run_dir: Path) -> bool:
    path = run_dir / RUN_ID
    return ranks.run_id() is not None and path.is_file() and path.read_text() == ranks.run_id()


def after_restart(side: str, config: Config) -> Config:
    """The configuration with which a run goes on that torchrun has started again, because one of
    its processes died (`--max_restarts`): in its old folder, from its last checkpoint."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) == 0 or config.fast_dev_run:
        return config
    parent = RUNS / side / config.dataset
    folders = [parent / f"version_{version}" for version in sorted(_versions(parent))[::-1]]
    if config.run_dir is not None:
        folders = [Path(config.run_dir)]
    run_dir = next((folder for folder in folders if _is_ours(folder)), None)
    if run_dir is None:
        return config
    has_checkpoint = (run_dir / "checkpoints" / "last.ckpt").is_file()
    ckpt_path = "last" if has_checkpoint else config.ckpt_path
    return dataclasses.replace(config, run_dir=str(run_dir), ckpt_path=ckpt_path)


def _next_version(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    version = max(_versions(parent), default=-1) + 1
    while True:
        try:
            (parent / f"version_{version}").mkdir()
            return parent / f"version_{version}"
        except FileExistsError:
            version += 1


def _versions(parent: Path) -> list[int]:
    names = os.listdir(parent) if parent.is_dir() else []
    return [int(n[8:]) for n in names if n.startswith("version_") and n[8:].isdecimal()]


def find_checkpoint(side: str, config: Config) -> Path:
    """The file that `--ckpt_path` means: itself, or `last` or `best` (the default) of the run
    folder, which is `--run_dir` or the newest version that has such a checkpoint.

    Raises:
        UsageError: there is no such file.
    """
    name = config.ckpt_path or "best"
    if name not in ("last", "best"):
        if not Path(name).is_file():
            what = f"{name} is not a file" if Path(name).exists() else f"no file {name}"
            raise UsageError(f"--ckpt_path: {what}; give a checkpoint, or last or best")
        return Path(name)
    if config.run_dir is not None:
        path = Path(config.run_dir) / "checkpoints" / f"{name}.ckpt"
        if not path.is_file():
            raise UsageError(f"--run_dir: {config.run_dir} holds no checkpoints/{name}.ckpt")
        return path
    parent = RUNS / side / config.dataset
    for version in sorted(_versions(parent), reverse=True):
        path = parent / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    raise UsageError(
        f"--ckpt_path: no {name}.ckpt below {parent}; run python -m {side}.train first, or give "
        "a file"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, running no code that it may hold.

    Raises:
        RunError: the file is damaged, or not a checkpoint of either side.
    """
    import torch

    try:
        _check_archive(path)
        with warnings.catch_warnings():  # what it says of TorchScript is said below
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except pickle.UnpicklingError:
        raise RunError(f"{path}: holds more than tensors and plain values; not loaded") from None
    # Of nearly every kind, where a bit of the archive's directory flipped.
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise RunError(f"{path}: {error.strerror}") from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path}: not a whole checkpoint file ({reason[:120]})") from None
    missing = {"state_dict", "epoch", "global_step", MODULE_HPARAMS, DATA_HPARAMS, DATA_STATE}
    if not isinstance(checkpoint, dict) or not missing <= checkpoint.keys():
        raise RunError(f"{path}: a PyTorch file, but not a checkpoint of this project")
    return checkpoint


def _check_archive(path: Path) -> None:
    """Look at the sums inside the zip archive that a checkpoint is: PyTorch itself would load a
    flipped bit."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        # PyTorch packs nothing. What is packed, or stands in the archive twice, may be a bomb: a
        # small file that fills the memory.
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
        if packed or sum(part.file_size for part in parts) > path.stat().st_size:
            raise RunError(f"{path}: a packed zip archive, and not a checkpoint; not loaded")
        damaged = archive.testzip()
    if damaged is not None:
        raise RunError(f"{path}: damaged (the sum of {damaged} is wrong); use another checkpoint")


# The keys under which Lightning stores what `save_hyperparameters` saw in a module and in a data
# module (pytorch_lightning/core/mixins/hparams_mixin.py and core/datamodule.py).
MODULE_HPARAMS, DATA_HPARAMS = "hyper_parameters", "datamodule_hyper_parameters"
# And the state of a data module: the name of its class.
DATA_STATE = "ImageData"
# And that of early stopping, which holds its patience.
STOPPING_KEY = "EarlyStopping{'monitor': 'val/loss', 'mode': 'min'}"


def check_checkpoint(path: Path, config: Config, *, resume: bool) -> dict[str, Any]:
    """Load the checkpoint, and make sure that it fits this run.

    To resume exactly, the whole recipe has to be what it was; to test or to predict, the dataset.

    Raises:
        UsageError: the checkpoint comes from a run with another dataset or recipe.
        RunError: as `read_checkpoint`, or what it holds is not what this project writes.
    """
    from shared import checkpoint_format as fits

    checkpoint = read_checkpoint(path)
    saved = fits.hyperparameters(path, checkpoint)
    names = [n for n in saved if hasattr(config, n)] if resume else ["dataset"]
    _check_recipe(path, config, {n: saved.get(n) for n in names if n not in UNBOUND})
    fits.check(path, checkpoint, saved, resume=resume)
    if resume:
        # Lightning goes on with the patience in the checkpoint, whatever it is told.
        patience = checkpoint["callbacks"].get(STOPPING_KEY, {}).get("patience")
        _check_recipe(path, config, {**_beside(path), "early_stopping_patience": patience})
    world_size = config.devices * config.num_nodes
    if resume and checkpoint[DATA_STATE]["world_size"] != world_size:
        raise UsageError(
            f"--devices: {world_size} processes in all; {path} was trained with "
            f"{checkpoint[DATA_STATE]['world_size']}"
        )
    done = checkpoint[DATA_STATE]["epoch"]
    if resume and config.ckpt_path not in ("last", "best") and done >= config.max_epochs:
        raise UsageError(
            f"--ckpt_path: {path} has all its {done} epochs behind it; give it to the test program"
        )
    return checkpoint


def _check_recipe(path: Path, config: Config, trained: Mapping[str, Any]) -> None:
    for name, value in trained.items():
        if value != getattr(config, name):
            raise UsageError(
                f"--{name}: got {getattr(config, name)!r}; {path} was trained with {shown(value)}"
            )


def _beside(path: Path) -> dict[str, Any]:
    """What a checkpoint does not say of its recipe, and the run folder around it does."""
    import yaml

    try:
        config = yaml.safe_load((path.parent.parent / "config.yaml").read_text())
        return {name: config[name] for name in ("precision", "gradient_clip_val")}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return {}


# What may change when a run is resumed, since it does not change the weights.
UNBOUND = {"data_dir", "num_workers"}


def final_metrics(validated: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard's HPARAMS page shows of a run."""
    metrics = {**validated, **tested}
    names = ("val/loss", "val/accuracy", "test/loss", "test/accuracy")
    return {f"hp/{name.replace('/', '_')}": float(metrics[name]) for name in names}


def is_within_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Whether it was written between two steps of an epoch, and not at an epoch's end."""
    return checkpoint[DATA_STATE]["batch_idx"] > 0


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict, sorted by name.

    Equal fingerprints are weights equal to the last bit, whatever device they lie on.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # A zero-dimensional tensor has no bytes to view until it has a dimension.
        digest.update(tensor.reshape(-1).view(dtype=_bytes()).numpy().tobytes())
    return digest.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


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
    if ranks.rank() > 0:
        return {}
    best = last = {"epoch": 0, "state_dict": module.state_dict()}
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
        # Of a run that was resumed, another process has trained a part.
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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that whoever looks sees the old one or the new one, whole."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a run folder is for everyone.
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
    print(f"trained       {s['epochs']} epochs, {s['global_step']} steps, {s['fit_seconds']:.2f} s")
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


def write_predictions(ckpt_path: Path, labels: Tensor, probabilities: Tensor) -> Path:
    """Write `predictions.csv` into the run folder of the checkpoint, or beside a file that lies
    in none: index, label, predicted, confidence.

    Confidences have nine digits, which tell any two float32 apart.
    """
    folder = ckpt_path.parent.parent if ckpt_path.parent.name == "checkpoints" else ckpt_path.parent
    confidence, predicted = probabilities.max(dim=1)
    if ranks.rank() > 0:
        return folder / "predictions.csv"
    rows = zip(labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
    lines = [f"{i},{label},{answer},{conf:.9g}" for i, (label, answer, conf) in enumerate(rows)]
    header = "index,label,predicted,confidence"
    write_atomically(folder / "predictions.csv", "\n".join([header, *lines]) + "\n")
    correct = int((predicted == labels).sum())
    print(f"predicted     {len(lines):,} test images, {correct:,} of them right")
    print(f"written       {folder / 'predictions.csv'}")
    return folder / "predictions.csv"


def print_answers(
    dataset: str, files: Sequence[str], probabilities: Tensor, problems: Sequence[str]
) -> None:
    """One line for each picture: what it shows, with which confidence, and the file.

    Raises:
        RunError: after the answers, if there are `problems`: a line on each unreadable picture.
    """
    from shared.data import DATASETS

    classes = DATASETS[dataset].classes
    width = max(map(len, classes))
    for file, row in zip(files, probabilities, strict=True):
        confidence, answer = row.max(dim=0)
        print(f"{classes[answer]:{width}}  {confidence:6.1%}  {file}")
    if problems:
        raise RunError("; ".join(problems))
