"""What surrounds the training: seeds, loaders, numbers that are reported, files."""

from __future__ import annotations

import builtins
import functools
import re
import sys
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from ..fingerprints import checksum
from ..records import Where
from .calls import MARK, Calls
from .metrics import Metrics
from .operations import tensors
from .record import Record, generators
from .source import is_called_directly, where

PRINTED = re.compile(
    r"([A-Za-z][\w /%.@-]*?)['\"]?\s*[:=]?\s*(?:tensor\()?([-+]?\d+\.\d+(?:[eE][-+]?\d+)?|nan)(%?)"
)


class Surroundings:
    def __init__(self, record: Record, calls: Calls) -> None:
        self.record, self.calls, self.models = record, calls, calls.models
        self.metrics_made = Metrics(record)
        self.is_built = False
        self.unseeded: Where = []
        self.logged: dict[str, Where] = {}
        self.rates: Callable[[], list[float]] = list  # learning rates of all optimizers
        # The number of each loader, and of the loader that an iterator belongs to.
        self.loaders: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.iterators: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def install(self) -> None:
        record = self.record
        hook = nn.modules.module.register_module_parameter_registration_hook(
            record.watched(self.on_parameter)
        )
        record.undo.callback(hook.remove)
        record.wrap(nn.Module, "__init__", after=self.after_module)
        record.wrap(torch, "manual_seed", after=functools.partial(self.after_seed, "torch"))
        random = sys.modules.get("random")
        record.wrap(random, "seed", after=functools.partial(self.after_seed, "random"))
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            record.wrap(numpy, "seed", after=functools.partial(self.after_seed, "numpy"))
            record.wrap(numpy, "default_rng", after=self.after_default_rng)
        record.replace(torch, "save", self.around_save(torch.save))
        record.wrap(nn.Module, "load_state_dict", after=functools.partial(self.loaded, "weights"))
        record.wrap(
            torch.optim.Optimizer, "load_state_dict",
            after=functools.partial(self.loaded, "optimizer"),
        )  # fmt: skip
        record.replace(DataLoader, "__iter__", self.around_iter(DataLoader.__iter__))
        around_next = self.around_next(_BaseDataLoaderIter.__next__)
        record.replace(_BaseDataLoaderIter, "__next__", around_next)
        record.wrap(builtins, "print", after=self.after_print)

    # Generators

    def on_parameter(self, module: nn.Module, name: str, parameter: Any) -> None:
        if not self.is_built and parameter is not None:
            self.is_built = True
            self.record.write("built", where=where())

    def after_module(self, _: Any, arguments: dict[str, Any]) -> None:
        self.models.made[id(arguments["self"])] = where(2)
        self.metrics_made.on_module(arguments["self"])

    def after_seed(self, of: str, _: Any, arguments: dict[str, Any]) -> None:
        value = next((v for v in arguments.values() if isinstance(v, (int, float))), 0)
        self.record.write("seed", of=of, value=int(value), built=self.is_built, where=where())

    def after_default_rng(self, _: Any, arguments: dict[str, Any]) -> None:
        given = next(iter(arguments.values()), None)
        if given is None and not self.unseeded and is_called_directly():
            self.unseeded = where()

    def around_iter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        before = self.record.watched(lambda loader: (generators(), _own_state(loader)))
        after = self.record.watched(self.after_iter)

        @functools.wraps(original)
        def loader_iter(loader: DataLoader[Any]) -> Iterator[Any]:
            states = before(loader)
            iterator = original(loader)
            after(loader, iterator, states)
            return iterator

        return loader_iter

    def after_iter(
        self, loader: DataLoader[Any], iterator: Any, before: tuple[dict[str, str], int | None]
    ) -> None:
        size = len(loader.dataset) if hasattr(loader.dataset, "__len__") else None
        number = self.iterators[iterator] = self.loaders.setdefault(loader, len(self.loaders))
        self.record.write(
            "loader", number=number, size=size, batch_size=loader.batch_size,
            drew=generators()["torch"] != before[0]["torch"], own=before[1],
            workers=loader.num_workers, persistent=loader.persistent_workers,
            sampler=type(loader.sampler).__name__, settings=_settings(loader.sampler),
            where=where(),
        )  # fmt: skip

    def around_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        after_end = self.record.watched(self.after_end)

        @functools.wraps(original)
        def iterator_next(iterator: Any) -> Any:
            try:
                return original(iterator)
            except StopIteration:
                after_end(iterator)
                raise

        return iterator_next

    def after_end(self, iterator: Any) -> None:
        if iterator in self.iterators:
            self.record.write("exhausted", number=self.iterators[iterator])

    # Reported numbers

    def look_for_loggers(self) -> None:
        """What is slow to import is wrapped when the program has done so."""
        writer = sys.modules.get("torch.utils.tensorboard.writer")
        if writer is not None and not hasattr(writer, MARK):
            self.mark(writer)
            self.record.wrap(writer.SummaryWriter, "add_scalar", before=self.before_scalar)
        for name in ("pytorch_lightning", "lightning.pytorch"):
            package = sys.modules.get(name)
            if package is None or hasattr(package, MARK) or not hasattr(package, "Trainer"):
                continue
            self.mark(package)
            self.record.wrap(package.LightningModule, "log", before=self.before_log)
            connector = sys.modules.get(
                f"{name}.trainer.connectors.logger_connector.logger_connector"
            )
            if connector is not None:
                self.wrap_log_metrics(connector._LoggerConnector)

    def mark(self, module: Any) -> None:
        setattr(module, MARK, True)
        self.record.undo.callback(delattr, module, MARK)

    def wrap_log_metrics(self, owner: Any) -> None:
        """All that a LightningModule logs comes here, whether there is a logger or not."""
        original = owner.log_metrics
        look = self.record.watched(self.metrics)

        @functools.wraps(original)
        def log_metrics(connector: Any, metrics: Any, *args: Any, **kwargs: Any) -> Any:
            look(metrics)
            before, self.record.busy = self.record.busy, True  # what its loggers do is the same
            try:
                return original(connector, metrics, *args, **kwargs)
            finally:
                self.record.busy = before

        self.record.replace(owner, "log_metrics", log_metrics)

    def before_log(self, arguments: dict[str, Any]) -> None:
        self.logged.setdefault(str(arguments.get("name")), where())

    def metrics(self, metrics: Any) -> None:
        for tag, value in metrics.items():
            name = tag.removesuffix("_step").removesuffix("_epoch")
            place = self.logged.get(tag) or self.logged.get(name) or where()
            self.number("log", str(tag), value, place)

    def before_scalar(self, arguments: dict[str, Any]) -> None:
        self.number("writer", arguments["tag"], arguments["scalar_value"], where())

    def number(self, source: str, tag: str, value: Any, place: Where) -> None:
        if isinstance(value, Tensor):
            value = value.detach()
        found = float(value)
        self.calls.flush_evaluation()
        self.record.write(
            "number", source=source, tag=tag, value=found, digits=None, rates=self.rates(),
            where=place,
        )  # fmt: skip

    def after_print(self, _: Any, arguments: dict[str, Any]) -> None:
        place = where()
        text = " ".join(str(v) for v in arguments.get("args", ()))[:500]
        if not is_called_directly():
            return
        for tag, value, percent in PRINTED.findall(text):
            tag = re.split(r"\b\d+\b", tag)[-1].strip()  # "epoch 3 loss" tells of a loss
            if tag:
                digits = len(value.split(".")[-1]) if "." in value and "e" not in value else None
                self.record.write(
                    "number", source="print", tag=tag, rates=self.rates(), where=place,
                    value=float(value) / (100 if percent else 1),
                    digits=digits if digits is None else digits + (2 if percent else 0),
                )  # fmt: skip

    # Files

    def loaded(self, of: str, _: Any, arguments: dict[str, Any]) -> None:
        self.record.write("load", of=of, where=where())

    def around_save(self, original: Callable[..., Any]) -> Callable[..., Any]:
        look = self.record.watched(self.saved)

        @functools.wraps(original)
        def save(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = original(*args, **kwargs)
            value = args[0] if args else kwargs.get("obj")
            look(value, time.perf_counter() - began)
            return result

        return save

    def saved(self, value: Any, seconds: float) -> None:
        found = [(n, t) for n, t in tensors(value) if not _is_momentum(n)]
        current = {checksum(t) for _, t in self.models.parameters()}
        saved = {checksum(t) for _, t in found}
        optimizers = _holding(value, lambda v: v.keys() >= {"state", "param_groups"})
        names = [n.rsplit("/", 1)[-1] for n, _ in found]
        prefixes = [p for p in ("_orig_mod.", "module.") if any(n.startswith(p) for n in names)]
        self.calls.flush_evaluation()
        self.record.write(
            "save",
            weights="current" if current and current <= saved else "others" if found else "none",
            optimizer=any(o["state"] for o in optimizers),
            schedule=bool(_holding(value, lambda v: "last_epoch" in v)),
            prefix=prefixes[0] if prefixes else "",
            seconds=seconds,
            hash=f"{zlib.crc32(repr(sorted(checksum(t) for _, t in found)).encode()):08x}",
            where=where(),
        )


def _own_state(loader: DataLoader[Any]) -> int | None:
    """That of the generator that the sampler draws the order from, if it has one of its own."""
    generator = getattr(loader.sampler, "generator", None)
    return checksum(generator.get_state()) if isinstance(generator, torch.Generator) else None


def _settings(sampler: Any) -> dict[str, str]:
    """What a sampler was made with, as far as it is a number, a text or a tensor."""
    found = {}
    for name, value in vars(sampler).items() if hasattr(sampler, "__dict__") else ():
        if isinstance(value, Tensor):
            found[name] = f"a tensor with the checksum {checksum(value):08x}"
        elif isinstance(value, (bool, int, float, str)):
            found[name] = repr(value)
    return {k: v for k, v in found.items() if k != "epoch" and not k.startswith("_")}


def _is_momentum(name: str) -> bool:
    return "optimizer" in name and "/state/" in name


def _holding(value: Any, is_wanted: Callable[[Any], bool], depth: int = 0) -> list[Any]:
    """The dicts in nested containers that are what is wanted."""
    if isinstance(value, dict) and is_wanted(value):
        return [value]
    if depth > 4 or not isinstance(value, (dict, list, tuple)):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [found for part in parts for found in _holding(part, is_wanted, depth + 1)]
