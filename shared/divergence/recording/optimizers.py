"""Optimizers, their steps, clipping and scaling; and weights that change without any of them."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from ..fingerprints import digest, fingerprint, is_plain
from ..records import Where
from .calls import Calls, norm
from .record import Record
from .scaling import scaler_class
from .source import where


class Optimizers:
    def __init__(self, record: Record, calls: Calls) -> None:
        self.record, self.calls, self.models = record, calls, calls.models
        self.known: dict[int, dict[str, Any]] = {}
        self.last: dict[str, str] = {}  # hashes of the weights after the last step
        self.began: dict[str, float] | None = None

    def install(self) -> None:
        record = self.record
        for register, look in (
            (register_optimizer_step_pre_hook, self.before_step),
            (register_optimizer_step_post_hook, self.after_step),
        ):
            record.undo.callback(register(record.watched(look)).remove)
        for module in (nn.utils, nn.utils.clip_grad):
            record.wrap(module, "clip_grad_norm_", after=self.after_clip)
            record.wrap(module, "clip_grad_value_", after=self.after_clip)
        record.wrap(scaler_class(), "unscale_", after=self.after_unscale)
        record.wrap(Optimizer, "__init__", after=self.after_optimizer)
        schedules = torch.optim.lr_scheduler
        base = getattr(schedules, "LRScheduler", None) or schedules._LRScheduler
        # The second does not call the first.
        for kind in (base, schedules.ReduceLROnPlateau):
            record.wrap(kind, "__init__", after=self.after_schedule)

    def after_optimizer(self, _: Any, arguments: dict[str, Any]) -> None:
        optimizer = arguments["self"]
        self.known[id(optimizer)] = {
            "of": weakref.ref(optimizer), "number": len(self.known), "made": where(),
            "schedule": [],
        }  # fmt: skip

    def after_schedule(self, _: Any, arguments: dict[str, Any]) -> None:
        known = self.known.get(id(arguments.get("optimizer")))
        if known:
            known["schedule"] = where()

    def after_clip(self, result: Any, arguments: dict[str, Any]) -> None:
        by = "value" if "clip_value" in arguments else "norm"
        limit = arguments.get("max_norm", arguments.get("clip_value", 0.0))
        given = arguments.get("parameters")
        self.record.write(
            "clip",
            limit=float(limit),
            norm_type=float(arguments.get("norm_type", 0.0)),
            norm=float(result.detach())
            if isinstance(result, Tensor) and is_plain(result)
            else None,
            count=len(given) if isinstance(given, (list, tuple)) else -1,
            by=by,
            micro=self.calls.micro,
            where=where(),
        )

    def after_unscale(self, _: Any, arguments: dict[str, Any]) -> None:
        scaler = arguments["self"]
        if scaler.is_enabled():
            self.record.write("unscale", scale=scaler.get_scale(), where=where())

    def rates(self) -> list[float]:
        """The learning rates of all optimizers now."""
        made = [known["of"]() for known in self.known.values()]
        return [float(g["lr"]) for o in made if o is not None for g in o.param_groups if "lr" in g]

    def look_for_updates(self) -> None:
        """At the start of a forward pass: are the weights what the last step left, and if there
        was a backward pass since, has the program updated them itself?"""
        if not self.models.all or self.calls.operations.is_stepping:
            return  # an optimizer that calls a closure several times moves the weights between
        current = {n: digest(p) for n, p in self.models.parameters()}
        changed = [n for n, h in current.items() if self.last.get(n, h) != h]
        if self.calls.micro and changed:
            self.take(None, where())
        elif changed:
            self.record.write("changed", names=changed, where=where())
        self.last = {**current} if changed else self.last or current

    def remember(self, weights: dict[str, str]) -> None:
        """What a model begins with, so that its first update is told."""
        self.last = {**weights, **self.last}

    def settle(self) -> None:
        """Take the weights for what the last step left, whatever they are."""
        if self.last:
            self.last |= {n: digest(p) for n, p in self.models.parameters()}

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.models.all and not self.calls.micro:
            self.look_for_updates()
        self.calls.operations.is_stepping = True
        known = self.known.get(id(optimizer))
        self.began = None
        if known and not known.get("stepped"):
            known["stepped"] = True
            self.began = momenta(optimizer)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.calls.operations.is_stepping = False
        self.take(optimizer, where())

    def take(self, optimizer: Optimizer | None, place: Where) -> None:
        """Write an update down, by an optimizer or by hand."""
        made = self.known.get(id(optimizer), {"number": 0, "made": [], "schedule": []})
        named = list(self.models.parameters())
        names = {id(p): name for name, p in named}
        groups = optimizer.param_groups if optimizer else []
        held = [p for group in groups for p in group["params"]]
        in_some = {id(p) for p in held}
        for other in self.known.values():
            if other["of"]() is not None:
                in_some |= {id(p) for g in other["of"]().param_groups for p in g["params"]}
        if optimizer is None:
            held, in_some = [p for _, p in named], {id(p) for _, p in named}
        mine = [(names.get(id(p), f"?{i}"), p) for i, p in enumerate(held)]
        weights = [(n, fingerprint(p)) for n, p in mine]
        moved = [n for n, f in weights if self.last.get(n) != f["hash"]]
        self.record.write(
            "step",
            optimizer=type(optimizer).__name__ if optimizer else "",
            number=made["number"],
            made=made["made"],
            schedule=made["schedule"],
            where=place,
            groups=[options(group, names) for group in groups],
            missing=[n for n, p in named if p.requires_grad and id(p) not in in_some],
            foreign=sum(id(p) not in names for p in held),
            total=len(held),
            gradients=[(n, fingerprint(p.grad)) for n, p in mine if p.grad is not None],
            weights=weights,
            moved=moved,
            buffers=[(n, fingerprint(b)) for n, b in self.models.buffers()],
            momenta=momenta(optimizer) if optimizer else {},
            began=self.began,
            kept=self.calls.still_alive(),
            memory=memory(),
        )
        self.last |= {n: f["hash"] for n, f in weights}
        self.record.step, self.calls.micro = self.record.step + 1, 0
        self.calls.operations.gradients = {}
        self.calls.flush()


def momenta(optimizer: Optimizer) -> dict[str, float]:
    """The norm of each kind of tensor in an optimizer's state."""
    found: dict[str, list[Tensor]] = {}
    for state in optimizer.state.values():
        for key, value in state.items() if isinstance(state, dict) else ():
            if isinstance(value, Tensor):
                found.setdefault(key, []).append(value)
    return {key: norm(values) for key, values in found.items()}


def options(group: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """The settings of a parameter group as plain values, and which parameters are in it."""
    kept: dict[str, Any] = {"parameters": [names.get(id(p), "?") for p in group["params"]]}
    for key, value in group.items():
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (bool, int, float, str, tuple, list)) and key != "params":
            kept[key] = list(value) if isinstance(value, tuple) else value
    return kept


def memory() -> int:
    """Bytes that the process holds, and those on its GPU; 0 where the system does not say."""
    held = 0
    if sys.platform.startswith("linux"):
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[1]) * 4096
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        held += torch.cuda.memory_allocated()
    return held
