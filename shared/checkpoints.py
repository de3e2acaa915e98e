"""Checkpoints of either side: found, read without running what is in them, and held against the run
that is to use them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.checkpoint_format import (
    DATA_HPARAMS,
    DATA_STATE,
    MODULE_HPARAMS,
    check_content,
    hyperparameters,
    not_finite,
)
from shared.config import Config
from shared.errors import RunError, UsageError, counted, shown, warn
from shared.files import RUNS, versions_of


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
    for version in sorted(versions_of(parent), reverse=True):
        path = parent / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    raise UsageError(
        f"--ckpt_path: no {name}.ckpt below {parent}; run python -m {side} train first, or give "
        "a file"
    )


def resume_from(side: str, config: Config) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint that `--ckpt_path` names, and what is in it; None and an empty dictionary for
    a new run.

    Raises:
        UsageError: there is no such file, or it comes from another recipe.
        RunError: the file is damaged.
    """
    if config.ckpt_path is None:
        return None, {}
    path = find_checkpoint(side, config)
    return path, check_checkpoint(path, config, resume=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, running no code that it may hold.

    Raises:
        RunError: the file is damaged, or not a checkpoint of either side.
    """
    try:
        _check_archive(path)
        with warnings.catch_warnings():  # what it says of TorchScript is said below
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except pickle.UnpicklingError:
        raise RunError(f"{path}: holds more than tensors and plain values; not loaded") from None
    # A flipped bit in the archive's directory raises errors of nearly every kind.
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
    """Look at the sums inside the zip archive that a checkpoint is, since PyTorch itself would load
    a flipped bit."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        # PyTorch packs nothing. A part that is packed, or that the archive lists twice, may be a
        # bomb: a small file that fills the memory.
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
        if packed or sum(part.file_size for part in parts) > path.stat().st_size:
            raise RunError(f"{path}: a packed zip archive, and not a checkpoint; not loaded")
        damaged = archive.testzip()
    if damaged is not None:
        raise RunError(f"{path}: damaged (the sum of {damaged} is wrong); use another checkpoint")


def check_checkpoint(path: Path, config: Config, *, resume: bool) -> dict[str, Any]:
    """Load the checkpoint, and make sure that it fits this run.

    To resume exactly, the whole recipe has to be what it was; to test or to predict, the dataset.

    Raises:
        UsageError: the checkpoint comes from a run with another dataset or recipe.
        RunError: as `read_checkpoint`, or what it holds is not what this project writes.
    """
    checkpoint = read_checkpoint(path)
    saved = hyperparameters(path, checkpoint)
    # The model first: it is code, and only what the command line names may run.
    names = ["dataset", "model", "image_size"]
    names += [name for name in saved if hasattr(config, name)] if resume else []
    _check_recipe(path, config, {n: saved.get(n) for n in names if n not in UNBOUND})
    _check_task(path, config, saved)
    check_content(path, checkpoint, saved, resume=resume)
    if not resume and (flaw := not_finite(checkpoint)):
        warn(f"{path}: {flaw}; what these weights answer means nothing")
    if other := _of_another_run(path, {**saved, **checkpoint.get("recipe", {})}):
        if resume:
            raise RunError(f"{path}: {other}; use a checkpoint of this run")
        warn(f"{path}: {other}")
    if resume:
        recipe = checkpoint["recipe"]
        _check_recipe(path, config, {name: recipe.get(name) for name in config.recipe()})
    if resume and checkpoint[DATA_STATE]["world_size"] != config.world_size:
        processes = counted(config.world_size, "process", "processes")
        raise UsageError(
            f"--devices: {processes} in all; {path} was trained with "
            f"{checkpoint[DATA_STATE]['world_size']}"
        )
    done = checkpoint[DATA_STATE]["epoch"]
    if resume and config.ckpt_path not in ("last", "best") and done >= config.max_epochs:
        raise UsageError(
            f"--ckpt_path: {path} has been trained to its end, for {counted(done, 'epoch')}; "
            "give it to test or predict"
        )
    return checkpoint


def _of_another_run(path: Path, trained: Mapping[str, Any]) -> str | None:
    """Where a checkpoint differs from the configuration of the run in whose folder it lies, in
    words; None if it does not, or lies elsewhere."""
    import yaml

    file = path.parent.parent / "config.yaml"
    if path.parent.name != "checkpoints" or not file.is_file():
        return None
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # it is said where it is read for its own sake
        return None
    for name, value in trained.items() if isinstance(values, dict) else ():
        if name in values and name not in UNBOUND and values[name] != value:
            return f"trained with {name} {shown(value)}, but {file} says {shown(values[name])}"
    return None


def _check_recipe(path: Path, config: Config, trained: Mapping[str, Any]) -> None:
    for name, value in trained.items():
        if value != getattr(config, name):
            raise UsageError(
                f"--{name}: got {getattr(config, name)!r}; {path} was trained with {shown(value)}"
            )


def _check_task(path: Path, config: Config, saved: Mapping[str, Any]) -> None:
    """The pictures and classes of the checkpoint are those of the data. To predict pictures of your
    own, the folder that the network was trained on need not be there."""
    try:
        task = config.module_hparams()
    except RunError:
        return
    if saved["classes"] != task["classes"]:
        raise UsageError(
            f"--data_dir: {config.data_dir} has the classes {shown(task['classes'])}; {path} was "
            f"trained with {shown(saved['classes'])}"
        )
    if saved["in_shape"] != task["in_shape"]:
        raise UsageError(
            f"--image_size: pictures of {task['in_shape']}; {path} was trained with "
            f"{saved['in_shape']}"
        )


# What may change when a run is resumed, since it does not change the weights.
UNBOUND = {"data_dir", "num_workers"}
