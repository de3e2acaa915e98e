"""Whether a checkpoint holds what this project writes, looked at before anything is restored from
it: PyTorch and Lightning would fail in the middle, with an error that names no file, or not at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.config import Config, RunError, UsageError, shown
from shared.model import ConvNet, make_optimizer
from shared.results import DATA_HPARAMS, DATA_STATE, MODULE_HPARAMS

# Lightning migrates older checkpoints while it loads them, and the raw side does not; newer ones
# may hold anything. In step with pyproject.toml.
FORMAT = "2.6"

SCALARS = (str, int, float, bool, type(None))


def hyperparameters(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What the module and the data were made with.

    Raises:
        RunError: it is not what they are made with, or the file has another format.
    """
    version = checkpoint.get("pytorch-lightning_version")
    if not isinstance(version, str) or version.split(".")[:2] != FORMAT.split("."):
        _refuse(path, f"written by pytorch-lightning {_plain(version)}; this one reads {FORMAT}")
    saved: dict[str, Any] = {}
    for key, names in (
        (DATA_HPARAMS, Config().data_hparams()),
        (MODULE_HPARAMS, Config().module_hparams()),
    ):
        values = checkpoint[key]
        if not isinstance(values, Mapping) or not all(type(v) in SCALARS for v in values.values()):
            _refuse(path, f"its {key} are not plain values")
        # Lightning adds a name of its own.
        if differing := {n for n in values if not str(n).startswith("_")} ^ names.keys():
            _refuse(path, f"its {key} differ from this project's in {_plain(sorted(differing))}")
        saved.update({name: values[name] for name in names})
    try:
        dataclasses.replace(Config(), **saved)
    except UsageError as error:
        _refuse(path, f"its hyper-parameters are not possible ({error})")
    return saved


def check(
    path: Path, checkpoint: Mapping[str, Any], saved: Mapping[str, Any], *, resume: bool
) -> None:
    """Compare the weights with the network that these hyper-parameters make, and, to resume, all
    else with what a run of this project saves.

    Raises:
        RunError: something is missing or has another shape; the message names the file and it.
    """
    with torch.device("meta"):  # shapes alone
        net = ConvNet(saved["dropout"], saved["width"])
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
    for key in ("optimizer_states", "lr_schedulers", "callbacks", "loops", "generators"):
        if not checkpoint.get(key):
            _refuse(path, f"it has weights only, and no {key} to resume from")
    if not isinstance(checkpoint["callbacks"], Mapping):
        _refuse(path, "its callbacks are not those of this project")
    optimizer = _only(path, checkpoint, "optimizer_states")
    scheduler = _only(path, checkpoint, "lr_schedulers")
    parameters = list(net.parameters())
    group = _only(path, optimizer, "param_groups")
    # What torch adds to these from version to version, it gives a default when it loads them.
    expected = make_optimizer(net, saved["lr"], saved["weight_decay"]).param_groups[0]
    for name in ("lr", "betas", "eps", "weight_decay"):
        if type(group.get(name)) is not type(expected[name]):
            _refuse(path, f"its optimizer is not the AdamW of this project ({name} is missing)")
    states = _get(optimizer, "state")
    none_yet = (
        states == {} and "MixedPrecision" in checkpoint
    )  # a loss scaler skips the first steps
    for index, parameter in enumerate(parameters) if not none_yet else ():
        moments = {"exp_avg": parameter, "exp_avg_sq": parameter, "step": torch.tensor(0.0)}
        _compare(path, f"optimizer's state {index}", _get(states, index), moments)
    if group.get("params") != list(range(len(parameters))):
        _refuse(path, "its optimizer has other parameters")
    if type(scheduler.get("total_steps")) is not int:
        _refuse(path, "its learning rate schedule is not the OneCycleLR of this project")


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


def _refuse(path: Path, reason: str) -> None:
    raise RunError(f"{path}: {reason}; use another checkpoint")
