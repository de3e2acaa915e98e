"""What a checkpoint of this project holds, and whether a file holds it. Both sides ask before they
restore anything: PyTorch and Lightning would fail in the middle, with an error that names no file,
or they would not fail at all."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from shared.config import FIELDS, Config
from shared.errors import RunError, UsageError, shown
from shared.model import make_network, make_optimizer

# The version of Lightning whose format this is. Lightning migrates older checkpoints while it loads
# them, and the raw side does not; newer ones may hold anything. The last number does not matter.
LIGHTNING_VERSION = "2.6.6"
RELEASE = LIGHTNING_VERSION.rpartition(".")[0]

# The keys under which Lightning stores what `save_hyperparameters` saw in a module and in a data
# module (pytorch_lightning/core/mixins/hparams_mixin.py and core/datamodule.py).
MODULE_HPARAMS, DATA_HPARAMS = "hyper_parameters", "datamodule_hyper_parameters"
# The state of a data module stands under the name of its class.
DATA_STATE = "ImageData"
# The states of the callbacks stand under their `state_key`: the one that saves best.ckpt, the one
# that saves last.ckpt, and early stopping, whose state holds its patience.
_SAVING = (
    "ModelCheckpoint{{'monitor': {}, 'mode': 'min', 'every_n_train_steps': 0, "
    "'every_n_epochs': 1, 'train_time_interval': None}}"
)
BEST_KEY, LAST_KEY = _SAVING.format("'val/loss'"), _SAVING.format("None")
STOPPING_KEY = "EarlyStopping{'monitor': 'val/loss', 'mode': 'min'}"

SCALARS = (str, int, float, bool, type(None))
# A sum over all else in the file: the archive's own sums notice what a disk has changed, and this
# one what a program has.
SUM = "content_sha256"

# What a run resumes from, beside the weights; and what it needs of the states of the callbacks.
TO_RESUME = (
    "optimizer_states", "lr_schedulers", "callbacks", "loops", "recipe", "generators",
    "train_accuracy", SUM,
)  # fmt: skip
CALLBACKS = {
    BEST_KEY: ("dirpath", "best_model_path", "best_model_score"),
    STOPPING_KEY: ("wait_count", "best_score", "patience", "stopped_epoch"),
}


def sealed(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What to write into the file: the checkpoint, with its tensors on the CPU, and its sum."""
    on_cpu = _on_cpu(checkpoint)
    return {**on_cpu, SUM: _sum(on_cpu)}


def _on_cpu(value: Any) -> Any:
    """The same with tensors moved to the CPU: a machine without the device could not load them."""
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(part) for part in value)
    return value.cpu() if isinstance(value, torch.Tensor) else value


def _sum(checkpoint: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {list(value.shape)}".encode())
            # A tensor without a dimension has no bytes to view until it has one.
            flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().tobytes())
        elif isinstance(value, Mapping):
            digest.update(f"{len(value)} keys ".encode())
            for key in sorted(value, key=repr):
                digest.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            digest.update(f"{len(value)} items ".encode())
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add({key: value for key, value in checkpoint.items() if key != SUM})
    return digest.hexdigest()


def not_finite(checkpoint: Mapping[str, Any]) -> str | None:
    """The first of the weights that holds a NaN or an infinite number, in words; None if all are
    finite."""
    for name, tensor in checkpoint["state_dict"].items():
        if not tensor.isfinite().all():
            value = tensor[~tensor.isfinite()][0].item()
            return f"{name} holds {value:g}"
    return None


def hyperparameters(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What the module and the data were made with.

    Raises:
        RunError: it is not what they are made with, or the file has another format.
    """
    version = checkpoint.get("pytorch-lightning_version")
    if not isinstance(version, str) or version.split(".")[:2] != RELEASE.split("."):
        _refuse(path, f"written by pytorch-lightning {_plain(version)}; this one reads {RELEASE}")
    saved: dict[str, Any] = {}
    for key, names in (
        (DATA_HPARAMS, Config().data_hparams()),
        (MODULE_HPARAMS, Config().module_hparams()),
    ):
        values = checkpoint[key]
        if not isinstance(values, Mapping) or not all(map(_is_plain, values.values())):
            _refuse(path, f"its {key} are not plain values")
        # Lightning adds a name of its own.
        if differing := {n for n in values if not str(n).startswith("_")} ^ names.keys():
            differing_names = _plain(sorted(map(str, differing)))
            _refuse(path, f"its {key} differ from this project's in {differing_names}")
        saved.update({name: values[name] for name in names})
    if not _is_list_of(int, saved["in_shape"]) or not _is_list_of(str, saved["classes"]):
        _refuse(path, "its hyper-parameters lack the shape of a sample or the names of the classes")
    try:
        dataclasses.replace(Config(), **{n: v for n, v in saved.items() if n in FIELDS})
    except UsageError as error:
        _refuse(path, f"its hyper-parameters are not possible ({error})")
    return saved


def check_content(
    path: Path, checkpoint: Mapping[str, Any], saved: Mapping[str, Any], *, resume: bool
) -> None:
    """Compare the weights with the network that these hyper-parameters make, and, to resume, all
    else with what a run of this project saves.

    Raises:
        RunError: something is missing or has another shape; the message names the file and it.
    """
    net = _network(saved)
    _compare(
        path,
        "weights",
        checkpoint["state_dict"],
        {f"net.{k}": v for k, v in net.state_dict().items()},
    )
    place = checkpoint[DATA_STATE]
    counts = [(name, checkpoint[name]) for name in ("epoch", "global_step")]
    counts += [(name, _get(place, name)) for name in ("epoch", "batch_idx", "world_size")]
    for name, count in counts:
        if type(count) is not int or count < 0:
            _refuse(path, f"its {name} is {_plain(count)}")
    if not resume:
        return
    for key in TO_RESUME:
        if not checkpoint.get(key):
            _refuse(path, f"it has no {key} to resume from")
    if not isinstance(checkpoint["recipe"], Mapping):
        _refuse(path, "its recipe is not plain values")
    validated = checkpoint.get("validated")
    if not isinstance(validated, Mapping) or not all(type(v) is float for v in validated.values()):
        _refuse(path, "it has no results of the last validation")
    if validated.keys() not in (set(), {"val/loss", "val/accuracy"}):
        _refuse(path, "its results of the last validation are not those of this project")
    _check_callbacks(path, checkpoint["callbacks"])
    optimizer = _only(path, checkpoint, "optimizer_states")
    scheduler = _only(path, checkpoint, "lr_schedulers")
    expected = _after_a_step(net, saved)
    groups = optimizer.get("param_groups")
    if not isinstance(groups, list) or [_get(group, "params") for group in groups] != [
        group["params"] for group in expected["param_groups"]
    ]:
        _refuse(path, "its optimizer has other parameters")
    for group, wanted in zip(groups, expected["param_groups"], strict=True):
        # What torch adds to these from version to version, it gives a default when it loads them.
        for name in ("lr", "betas", "eps", "momentum", "weight_decay"):
            if type(group.get(name)) is not type(wanted.get(name)):
                _refuse(path, f"its optimizer is not that of this project ({name} is missing)")
    states = _get(optimizer, "state")
    # A loss scaler skips the first steps.
    none_yet = states == {} and "MixedPrecision" in checkpoint
    for index, state in expected["state"].items() if not none_yet else ():
        _compare(path, f"optimizer's state {index}", _get(states, index), state)
    if type(scheduler.get("total_steps")) is not int:
        _refuse(path, "its learning rate schedule is not the OneCycleLR of this project")
    if flaw := not_finite(checkpoint):
        _refuse(path, f"its weights are spoiled: {flaw}")
    try:
        is_as_written = checkpoint[SUM] == _sum(checkpoint)
    except RecursionError:
        is_as_written = False
    if not is_as_written:
        _refuse(path, "its content was changed after it was written")


def _after_a_step(net: torch.nn.Module, saved: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the optimizer once it has stepped: what it keeps of each parameter."""
    optimizer = make_optimizer(net, saved["lr"], saved["weight_decay"])
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    # This is no step of the run: what looks at every step of an optimizer must not see it.
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)
    return optimizer.state_dict()


def _network(saved: Mapping[str, Any]) -> torch.nn.Module:
    # Of ConvNet, only the shapes; yours may need numbers, which it must not draw from the run's.
    device = "meta" if saved["model"] == "ConvNet" else "cpu"
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return make_network(
            saved["model"],
            saved["in_shape"],
            saved["classes"],
            saved["dropout"],
            saved["width"],
        )


def _check_callbacks(path: Path, callbacks: Any) -> None:
    """Look for the states that a run needs. Without that of the callback that saves the best
    weights, either side would write worse ones over them; early stopping is in some runs only."""
    if not isinstance(callbacks, Mapping):
        _refuse(path, "its callbacks are not those of this project")
    for key, names in CALLBACKS.items():
        if key == STOPPING_KEY and key not in callbacks:
            continue
        state, callback = callbacks.get(key), key.split("{")[0]
        if not isinstance(state, Mapping):
            _refuse(path, f"it has no state of {callback} to resume from")
        for name in names:
            if name not in state:
                _refuse(path, f"its state of {callback} has no {name} to resume from")


def _is_plain(value: Any) -> bool:
    return type(value) in SCALARS or _is_list_of(int, value) or _is_list_of(str, value)


def _is_list_of(kind: type, value: Any) -> bool:
    return type(value) is list and len(value) > 0 and all(type(v) is kind for v in value)


def _compare(path: Path, what: str, held: Any, expected: Mapping[str, torch.Tensor]) -> None:
    if not isinstance(held, Mapping):
        _refuse(path, f"its {what} are missing")
    for name, tensor in expected.items():
        found = held.get(name)
        if not isinstance(found, torch.Tensor):
            _refuse(path, f"its {what} lack {name}")
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            have, want = (f"{t.dtype} {list(t.shape)}" for t in (found, tensor))
            _refuse(path, f"its {what} are those of another network: {name} is {have}, not {want}")
    if unknown := [name for name in held if name not in expected]:
        _refuse(path, f"its {what} are those of another network: it has {_plain(unknown[0])}")


def _only(path: Path, container: Any, key: str) -> Mapping[str, Any]:
    found = _get(container, key)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Mapping):
        _refuse(path, f"its {key} are not those of one optimizer")
    return found[0]


def _get(container: Any, key: Any) -> Any:
    return container.get(key) if isinstance(container, Mapping) else None


def _plain(value: Any) -> str:
    """For an error line. The repr of what a stranger nested may have no end."""
    flat = isinstance(value, (*SCALARS, list))
    return shown(value) if flat else f"a {type(value).__name__}"


def _refuse(path: Path, reason: str) -> NoReturn:
    raise RunError(f"{path}: {reason}; use another checkpoint")
