"""The file of records, and the wrappers by which a program is looked at: they hand on every call as
it came, and an error in what looks on is written down and never raised."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..fingerprints import checksum
from .older import is_compiling


class Enough(BaseException):
    """All steps asked for are on record; not an `Exception`, so that no program catches it."""


class Record:
    """Where events are written, one JSON object a line, so that they are there after a crash.

    Attributes:
        step: updates of the weights so far.
        steps: updates after which the next training step raises `Enough`.
        busy: what is called now is called by the recorder itself.
    """

    def __init__(self, path: str | Path, steps: int) -> None:
        self.path, self.steps = path, steps
        self.step = 0
        self.process, self.thread = os.getpid(), threading.get_ident()
        self.busy = False
        self.seconds = 0.0
        self.faults: list[str] = []
        self.undo = contextlib.ExitStack()

    def open(self) -> None:
        self.file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115  open as long as it runs
        self.started = time.perf_counter()

    def now(self) -> float:
        """Seconds since the start, without those spent on recording."""
        return time.perf_counter() - self.started - self.seconds

    def write(self, kind: str, **fields: Any) -> None:
        event = {"kind": kind, "step": self.step, "time": round(self.now(), 6), **fields}
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()

    @property
    def is_ours(self) -> bool:
        """Whether this is the thread of the process that is recorded, and not a worker of it."""
        return threading.get_ident() == self.thread and os.getpid() == self.process

    def watched(self, look: Callable[..., Any]) -> Callable[..., Any]:
        """Adds up the time that recording takes, and keeps from the program what the recorder
        itself calls and its errors."""

        @functools.wraps(look)
        def safe(*args: Any, **kwargs: Any) -> Any:
            if self.busy or not self.is_ours or torch._C._len_torch_dispatch_stack():
                return None  # under such a mode tensors are fake, or traced, or counted
            self.busy, began = True, time.perf_counter()
            try:
                with torch._C.DisableTorchFunction():
                    return look(*args, **kwargs)
            except Exception as error:
                text = f"{look.__name__}: {type(error).__name__}: {error}"
                if text not in self.faults and len(self.faults) < 20:
                    self.faults.append(text[:300])
                return None
            finally:
                self.busy = False
                self.seconds += time.perf_counter() - began

        return safe

    def replace(self, owner: Any, name: str, new: Callable[..., Any]) -> None:
        self.undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, new)

    def unseen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A function of which nothing is recorded, nor of what it calls."""

        @functools.wraps(original)
        def unrecorded(*args: Any, **kwargs: Any) -> Any:
            before, self.busy = self.busy, True
            try:
                return original(*args, **kwargs)
            finally:
                self.busy = before

        return unrecorded

    def wrap(
        self,
        owner: Any,
        name: str,
        *,
        before: Callable[[dict[str, Any]], Any] | None = None,
        after: Callable[[Any, dict[str, Any]], Any] | None = None,
    ) -> None:
        """Have `before(arguments)` and `after(result, arguments)` called around a function, if
        there is one; the arguments by name, with defaults."""
        original = getattr(owner, name, None)
        if original is None:
            return
        looks = (
            before and self.watched(lambda args, kwargs: before(bound(original, args, kwargs))),
            after and self.watched(lambda r, args, kwargs: after(r, bound(original, args, kwargs))),
        )

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return original(*args, **kwargs)
            if looks[0]:
                looks[0](args, kwargs)
            result = original(*args, **kwargs)
            if looks[1]:
                looks[1](result, args, kwargs)
            return result

        self.replace(owner, name, wrapped)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def bound(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, with defaults; those of a built-in function by position."""
    try:
        given = _signature(function).bind(*args, **kwargs)
    except ValueError:
        return {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    given.apply_defaults()
    return dict(given.arguments)


def generators() -> dict[str, str]:
    """The state of every global generator, as checksums: those of torch and its devices, of numpy
    if the program has it, and of Python."""
    import random

    found = {"torch": checksum(torch.get_rng_state())}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = checksum(torch.cuda.get_rng_state())
    mps = getattr(torch, "mps", None)
    if mps is not None and torch.backends.mps.is_available():
        found["mps"] = checksum(mps.get_rng_state())
    if "numpy.random" in sys.modules:
        state = sys.modules["numpy.random"].get_state(legacy=True)
        found["numpy"] = zlib.crc32(state[1].tobytes(), state[2])
    found["random"] = zlib.crc32(repr(random.getstate()).encode())
    return {name: f"{value:08x}" for name, value in found.items()}
