"""Losses that a gradient scaler multiplies, told apart from what they were."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .record import Record


def scaler_class() -> Any:
    """Older versions of torch have one for CUDA alone."""
    return getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)


class Scaling:
    """Attributes:
    last: what a scaler gave last, what it was made of, and the scale.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.last: tuple[weakref.ref[Tensor], Tensor, float] | None = None

    def install(self) -> None:
        scaler = scaler_class()
        self.record.replace(scaler, "scale", self.around(self.record.unseen(scaler.scale)))

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        look = self.record.watched(self.after)

        @functools.wraps(original)
        def scale(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(scaler, *args, **kwargs)
            look(scaler, next(iter((*args, *kwargs.values())), None), result)
            return result

        return scale

    def after(self, scaler: Any, loss: Any, result: Any) -> None:
        if isinstance(loss, Tensor) and result is not loss:  # which it is if the scaler is off
            self.last = weakref.ref(result), loss.detach(), scaler.get_scale()

    def of(self, loss: Tensor) -> tuple[Tensor, float]:
        """A loss as it was before a scaler multiplied it, and by what it did."""
        last, self.last = self.last, None
        return (last[1], last[2]) if last and last[0]() is loss else (loss, 1.0)
