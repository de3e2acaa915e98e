"""A network of your own: `--model mine.py:MyNet`.

`MyNet` is a class or a function. It is called by name with those of `in_shape` (channels, height
and width of a picture), `num_classes`, `dropout` and `width` that it takes, and gives an
`nn.Module` from images float32 [B, *in_shape] to logits [B, num_classes].
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared.errors import RunError, UsageError, in_one_line


def load(model: str, *, in_shape: Sequence[int], num_classes: int, **more: Any) -> nn.Module:
    """The network, on the device that is the default, tried out with two empty pictures.

    Args:
        model: as `mine.py:MyNet`.
        more: other arguments that it may take.

    Raises:
        UsageError: there is no such file, or nothing of that name in it.
        RunError: the file or the network fails, or takes or gives other shapes.
    """
    made_by = _find(model)
    offered = {"in_shape": tuple(in_shape), "num_classes": num_classes, **more}
    try:
        taken = inspect.signature(made_by).parameters
        net = made_by(**{name: value for name, value in offered.items() if name in taken})
    except Exception as error:
        raise RunError(f"--model: {model} could not be made ({_said(error, model)})") from None
    if not isinstance(net, nn.Module):
        raise RunError(f"--model: {model} gives a {type(net).__name__}; expected an nn.Module")
    _try_out(model, net, [2, *in_shape], [2, num_classes])
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise RunError(f"--model: {model} has no parameters to train")
    return net


def _find(model: str) -> Any:
    file, _, name = model.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"--model: no file {file}; expected mine.py:MyNet")
    module_name = f"own_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--model: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Workers, compilers and dataclasses look a class up in the module that it says it is from.
    sys.modules[module_name] = module
    # What lies beside it can be imported, as when it is run.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RunError(f"--model: {file} could not be read ({_said(error, model)})") from None
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    if not callable(found):
        own = [
            n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, nn.Module)
        ]
        there = ", ".join(own[:5]) or "no network"
        raise UsageError(f"--model: {file} has no class or function {name}; it has {there}")
    return found


def _try_out(model: str, net: nn.Module, in_shape: list[int], out_shape: list[int]) -> None:
    was_training = net.training
    net.eval()
    try:
        # What it draws at random here must not shift what the run draws.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = net(torch.zeros(in_shape))
    except Exception as error:
        raise RunError(
            f"--model: {model} does not take images of the shape {in_shape} ({_said(error, model)})"
        ) from None
    net.train(was_training)
    found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != out_shape or not logits.is_floating_point():
        raise RunError(
            f"--model: {model} makes {found} of images of the shape {in_shape}; expected logits of "
            f"the shape {out_shape}"
        )


def _said(error: Exception, model: str) -> str:
    """What an error says, and the last line of the file that it passed."""
    file = Path(model.rpartition(":")[0]).resolve()
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == file
    ]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {in_one_line(error)}{where}"
