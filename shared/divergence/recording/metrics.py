"""Metric objects of torchmetrics, if the program has any: what each has counted since its reset."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..fingerprints import is_plain
from .calls import MARK
from .record import Record
from .source import where


class Metrics:
    """Attributes:
    counts: by the `id` of a metric, how often it was updated in training and in evaluation.
    depth: calls of forward() that are under way, which updates and resets for itself.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.counts: dict[int, list[int]] = {}
        self.depth = 0

    def on_module(self, module: Any) -> None:
        """Called when a module is made, before its own class has set anything."""
        package = sys.modules.get("torchmetrics.metric")
        base = getattr(package, "Metric", None)
        if base is None or not isinstance(module, base):
            return
        self.counts[id(module)] = [0, 0]
        if hasattr(package, MARK):
            return
        setattr(package, MARK, True)
        self.record.undo.callback(delattr, package, MARK)
        self.record.replace(base, "_wrap_update", self.around(base._wrap_update, self.updated))
        self.record.replace(base, "_wrap_compute", self.around(base._wrap_compute, self.computed))
        self.record.replace(base, "forward", self.around_forward(base.forward))
        self.record.wrap(base, "reset", after=lambda _, arguments: self.reset(arguments["self"]))

    def around(
        self, original: Callable[..., Any], look: Callable[[Any, Any], None]
    ) -> Callable[..., Any]:
        """Around what makes the method of one metric."""
        look = self.record.watched(look)

        @functools.wraps(original)
        def wrap(metric: Any, method: Callable[..., Any]) -> Callable[..., Any]:
            inner = original(metric, method)

            @functools.wraps(inner)
            def called(*args: Any, **kwargs: Any) -> Any:
                result = inner(*args, **kwargs)
                look(metric, result)
                return result

            return called

        return wrap

    def around_forward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        look = self.record.watched(self.updated)

        @functools.wraps(original)
        def forward(metric: Any, *args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                result = original(metric, *args, **kwargs)
            finally:
                self.depth -= 1
            look(metric, None)
            return result

        return forward

    def updated(self, metric: Any, _: Any) -> None:
        if not self.depth:
            self.counts.setdefault(id(metric), [0, 0])[not torch.is_grad_enabled()] += 1

    def reset(self, metric: Any) -> None:
        if not self.depth:
            self.counts[id(metric)] = [0, 0]

    def computed(self, metric: Any, result: Any) -> None:
        if self.depth or not isinstance(result, Tensor) or result.numel() != 1:
            return
        training, evaluation = self.counts.get(id(metric), [0, 0])
        self.record.write(
            "metric", name=type(metric).__name__, average=getattr(metric, "average", None),
            training=training, evaluation=evaluation,
            value=float(result.detach()) if is_plain(result) else None, where=where(),
        )  # fmt: skip
