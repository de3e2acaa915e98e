"""What a training program does, step by step, written down from outside: the program is not
touched. PyTorch's global hooks where there are any, and wrappers around its functions elsewhere."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..records import Where
from .calls import Calls
from .modules import Models
from .nudging import Nudges
from .operations import Operations
from .optimizers import Optimizers
from .record import Enough, Record, generators
from .source import where, where_raised
from .surroundings import Surroundings

__all__ = ["Enough", "Recorder"]


class Recorder:
    """A context manager: while it is entered, what this thread does is written to `path`.

    Args:
        path: the file of records; written line by line, so that it is there after a crash.
        steps: updates of the weights after which the next training step raises `Enough`.
        nudge: from which step on every weight is moved by one rounding, and by how much of itself
            the first time; None leaves the program as it is.
    """

    def __init__(
        self, path: str | Path, steps: int, nudge: tuple[int, float] | None = None
    ) -> None:
        self.record = Record(path, steps)
        self.models = Models()
        self.operations = Operations(self.record)
        self.calls = Calls(self.record, self.operations, self.models)
        self.optimizers = Optimizers(self.record, self.calls)
        self.surroundings = Surroundings(self.record, self.calls)
        self.calls.before_pass = self.optimizers.look_for_updates
        self.calls.on_weights = self.optimizers.remember
        self.calls.on_call = self.record.watched(self.surroundings.look_for_loggers)
        self.surroundings.rates = self.optimizers.rates
        if nudge is not None:
            self.calls.on_use = Nudges(self.record, self.optimizers, *nudge).before_forward
        self.compiled: Where | None = None

    def __enter__(self) -> Recorder:
        record = self.record
        record.open()
        with contextlib.suppress(ImportError):
            importlib.import_module("numpy.random")  # whose generator is looked at, if it is there
        record.write(
            "start",
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            world=int(os.environ.get("WORLD_SIZE", "1")),
            rng=generators(),
        )
        self.calls.install()
        self.optimizers.install()
        self.surroundings.install()
        record.replace(torch, "compile", self.around_compile(torch.compile))
        if hasattr(nn.Module, "compile"):
            record.replace(nn.Module, "compile", self.around_compile(nn.Module.compile))
        self.operations.start()
        return self

    def around_compile(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def compile(*args: Any, **kwargs: Any) -> Any:
            self.operations.stop()
            # Of hooks that the program did not set it is not warned.
            warnings.filterwarnings("ignore", "Using `torch.compile.*global hooks on modules")
            if self.compiled is None:
                self.compiled = where()
            return original(*args, **kwargs)

        return compile

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self.record
        self.operations.stop()
        record.undo.close()
        if not record.is_ours:
            return
        record.watched(self.finish)()
        leaving = isinstance(error, SystemExit) and error.code in (0, None)
        how = "finished" if error is None or leaving else "crashed"
        message, lines = "", []
        if isinstance(error, Enough):
            how = "enough"
        elif how == "crashed":
            message = said(error)
            lines = where_raised(trace)
        record.write(
            "end", how=how, error=message, where=lines, seconds=record.now() + record.seconds,
            recording=record.seconds, faults=record.faults, compiled=self.compiled,
            lightning="pytorch_lightning" in sys.modules or "lightning.pytorch" in sys.modules,
            unseeded=self.surroundings.unseeded,
        )  # fmt: skip
        record.file.close()

    def finish(self) -> None:
        if self.calls.micro:
            self.optimizers.look_for_updates()
        self.calls.flush(everything=True)


def said(error: BaseException | None) -> str:
    """The class of an exception and the last line that tells of an error, or the last of all,
    without colours of the terminal."""
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r})"
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\berror: ", line, re.IGNORECASE)] or lines
    return f"{type(error).__name__}: {telling[-1] if telling else 'no message'}"
