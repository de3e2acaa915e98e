"""Runs programs of the sides on two batches, and records which line does what.

python -m shared.compare.trace.tracer '{"lightning": [["train", {"precision": "bf16-mixed"}]]}'

What the programs of a side need is imported first, and once: the processes that run them are copies
of this one, where the system can make them. While the first side runs, the second is imported.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import io
import json
import multiprocessing
import os
import runpy
import sys
import tempfile
import textwrap
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from shared.compare.trace.events import Event, Frame, HookCall, OperationCall, Trace
from shared.compare.trace.operations import OPERATIONS, PACKAGES, Operation, package_folder
from shared.config import Config
from shared.processes import ROOT, as_torchrun

BATCHES = 2
# What takes seconds to import: DistributedDataParallel, for one, imports Dynamo, and so does
# Lightning.
IMPORTS = {
    "raw_pytorch": ("torch.utils.tensorboard", "torch._dynamo"),
    "lightning": ("torch.utils.tensorboard", "pytorch_lightning"),
}
# So many processes run a side's programs: the Trainer's take longer.
PROCESSES = {"raw_pytorch": 1, "lightning": 2}


class Tracer:
    def __init__(self, side: str) -> None:
        self.side = side
        self.events: list[Event] = []
        self.batches: list[Any] = []
        self.hook_bases: dict[type, set[str]] = {}
        self.hook_names: set[str] = set()
        self.roots = {str(ROOT / side): side}
        for name in PACKAGES if side == "lightning" else ():
            self.roots[str(package_folder(name))] = name

    def place(self, frame: FrameType) -> str | None:
        """The file of a frame as `package/path.py`, if it is one of those that are looked at."""
        for root, name in self.roots.items():
            if frame.f_code.co_filename.startswith(root + "/"):
                return name + frame.f_code.co_filename[len(root) :]
        return None

    def hook(self, frame: FrameType) -> str | None:
        """The method of Lightning's interface that a frame runs, as `LightningModule.backward`."""
        name = frame.f_code.co_name
        if name not in self.hook_names or "self" not in frame.f_code.co_varnames[:1]:
            return None
        owner = frame.f_locals.get("self")
        for base, names in self.hook_bases.items():
            if name in names and isinstance(owner, base):
                return f"{base.__name__}.{name}"
        return None

    def record(self, name: str, frame: FrameType | None) -> None:
        """Record that an operation is called by `frame`, unless that is another operation's doing,
        or the garbage collector's."""
        frames: list[Frame] = []
        hooks: list[str] = []
        sanity = False
        while frame is not None:
            if not frames and (
                frame.f_code.co_filename == __file__ or frame.f_code.co_name == "__del__"
            ):
                return
            if place := self.place(frame):
                frames.append((place, frame.f_lineno, frame.f_code.co_name))
                sanity |= frame.f_code.co_name == "_run_sanity_check"
                if hook := self.hook(frame):
                    hooks.append(hook)
            frame = frame.f_back
        if frames:
            self.events.append(OperationCall(name, frames, hooks, sanity))

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """For `sys.setprofile`: the hooks, as they begin and return."""
        # Names first: this is asked at every call of every function.
        if frame.f_code.co_name not in self.hook_names or event not in ("call", "return"):
            return
        if not (hook := self.hook(frame)):
            return
        base, name = hook.split(".")
        if base in TIMELINE:
            by = type(frame.f_locals["self"])
            own = next(kind for kind in by.__mro__ if name in kind.__dict__)
            if own.__module__.split(".")[0] not in PACKAGES:
                does = "own"
            else:
                does = "nothing" if is_empty(own.__dict__[name]) else "lightning"
            self.events.append(HookCall(name, base, by.__name__, does, event == "call"))

    def counts(self, of: str, args: tuple[Any, ...], caller: FrameType) -> bool:
        """Whether a call is one that the table is about: see `Operation.of`."""
        if of == "model":
            # What a network calls on itself, when it is made, is not the run's doing.
            homes = (self.side, "shared.model", "__main__")
            # In several processes, the Trainer calls what DistributedDataParallel has wrapped.
            models = [getattr(value, "module", value) for value in args[:2]]
            is_model = any(type(model).__module__.startswith(homes) for model in models)
            return is_model and caller.f_globals["__name__"] != "shared.model"
        if of == "batch":
            return any(args[0] is tensor for batch in self.batches for tensor in batch)
        if of == "loss":
            return args[0].requires_grad and args[0].ndim == 0
        if of == "metric":
            # Lightning wraps what it logs into metrics of its own; those are not the module's. What
            # a metric calls on itself, to begin with, is not the run's doing.
            home = type(args[0]).__module__
            is_own = caller.f_globals["__name__"] == home
            return home.startswith(("torchmetrics", f"{self.side}.metrics")) and not is_own
        if of == "own":
            return caller.f_globals["__name__"].startswith(self.side)
        home = caller.f_globals["__name__"].split(".")[0]
        return of == "all" or home not in ("torch", "torchmetrics")

    def wrap(self, operation: Operation, function: Callable, *bound: Any) -> Callable:
        """`function`, recorded when called. `bound` stands before its arguments where a method is
        wrapped that is bound already."""

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            if self.counts(operation.of, (*bound, *args), caller):
                self.record(operation.name, caller)
            # A picture takes longer than all the rest, and nobody will look at it.
            return None if operation.name in DRAWN else function(*args, **kwargs)

        return recorded

    def install(self) -> None:
        """Wrap every target, for the rest of this process. Those of the side come last: what it
        imports by name, it has to find wrapped."""
        self.install_others()
        targets = [(operation, t) for operation in OPERATIONS for t in operation.targets]
        for operation, target in sorted(
            targets, key=lambda pair: pair[1].startswith(("{side}", "raw_pytorch"))
        ):
            module, path = target.format(side=self.side).split(":")
            with contextlib.suppress(ModuleNotFoundError):
                if module.split(".")[0] in FOREIGN[self.side]:
                    continue
                owner: Any = importlib.import_module(module)
                *parents, name = path.split(".")
                for parent in parents:
                    owner = getattr(owner, parent)
                setattr(owner, name, self.wrapped(operation, getattr(owner, name), name))

    def wrapped(self, operation: Operation, function: Callable, name: str) -> Callable:
        if not name.startswith("_wrap_"):
            return self.wrap(operation, function)
        # A torchmetrics.Metric binds and wraps its own update and compute when it is made.
        return lambda metric, inner: self.wrap(operation, function(metric, inner), metric)

    def install_others(self) -> None:
        """What takes more than a wrapper around a name."""
        from torch.optim.optimizer import register_optimizer_step_post_hook
        from torch.utils.data.dataloader import _BaseDataLoaderIter

        def after_step(*_: Any) -> None:
            self.record("optimizer.step", sys._getframe(1))

        # After, not before: in Lightning forward and backward run inside of the step.
        register_optimizer_step_post_hook(after_step)
        hand_out = _BaseDataLoaderIter.__next__

        def remember(batches: Any) -> Any:
            batch = hand_out(batches)
            self.batches.append(batch)
            return batch

        iterator: Any = _BaseDataLoaderIter
        iterator.__next__ = remember
        if self.side == "lightning":
            self.hook_bases = interfaces()
            self.hook_names = set().union(*self.hook_bases.values())
            sys.setprofile(self.profile)


@functools.cache
def is_empty(method: Any) -> bool:
    """Whether a method does nothing, or only hands back what it was given."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    assert isinstance(function, ast.FunctionDef)
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (
            isinstance(statement, ast.Return)
            and isinstance(statement.value, (ast.Name, ast.Constant, type(None)))
        )
        for statement in function.body
    )


DRAWN = {"writer.add_figure", "writer.add_graph"}
# Packages whose targets are not for a side: it does without them, or they are not its own.
FOREIGN = {"raw_pytorch": {*PACKAGES, "torchmetrics"}, "lightning": {"raw_pytorch"}}
TIMELINE = ("LightningModule", "LightningDataModule", "Callback")


def interfaces() -> dict[type, set[str]]:
    """The classes that one overrides to change what the Trainer does, and their methods."""
    import pytorch_lightning as pl
    from pytorch_lightning.core import hooks
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.plugins import CheckpointIO, Precision
    from pytorch_lightning.strategies import Strategy

    def methods(*owners: type) -> set[str]:
        return {
            name
            for owner in owners
            for name, value in vars(owner).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }

    # LightningModule has many methods to call; these are the ones to override.
    steps = {
        "training_step", "validation_step", "test_step", "configure_optimizers", "backward",
        "configure_callbacks", "configure_gradient_clipping", "optimizer_step",
        "optimizer_zero_grad", "lr_scheduler_step",
    }  # fmt: skip
    module = methods(hooks.ModelHooks, hooks.DataHooks, hooks.CheckpointHooks) | steps
    return {
        pl.LightningModule: module,
        pl.LightningDataModule: methods(hooks.DataHooks, hooks.CheckpointHooks),
        pl.Callback: methods(pl.Callback),
        CheckpointIO: methods(CheckpointIO),
        Logger: methods(Logger),
        Precision: methods(Precision),
        Strategy: methods(Strategy),
    }


def shorten(splits: dict[str, Any], images: int) -> dict[str, Any]:
    """The first images of each split."""
    for split in splits.values():
        split.images, split.labels = split.images[:images], split.labels[:images]
    return splits


class Terminal(io.StringIO):
    """What a side prints goes nowhere; but only for a terminal does it draw a progress bar."""

    def isatty(self) -> bool:
        return True


def trace(side: str, programs: list[tuple[str, dict[str, Any]]]) -> list[Trace]:
    """The traces of programs of a side, run in this process, which is of no other use afterwards.

    Raises:
        Exception: whatever a program raised.
    """
    import torch

    from shared import data, figures

    torch.set_num_threads(1)
    load, images = data.load, 0
    loading: Any = data
    loading.load = lambda *args: shorten(load(*args), images)
    drawing: Any = figures
    drawing.confusion_figure = drawing.mistakes_figure = lambda *_: None
    tracer = Tracer(side)
    tracer.install()
    sys.stdout = Terminal()
    here, traces = os.getcwd(), {}
    # Several processes first: one that has computed gradients beside a GPU cannot be copied.
    order = sorted(range(len(programs)), key=lambda n: -programs[n][1].get("devices", 1))
    for number in order:
        program, options = programs[number]
        tracer.events, tracer.batches = [], []
        summary: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            if program == "train":
                config = Config(**{**options, "run_dir": folder + "/run"})
                images = BATCHES * config.batch_size * config.devices
                train = importlib.import_module(f"{side}.train").train
                summary = in_processes(config.devices, lambda: train(config))  # noqa: B023
            else:
                os.chdir(folder)  # it writes into runs/
                images = BATCHES * 64
                runpy.run_module(f"{side}.{program}", run_name="__main__")
                os.chdir(here)
        traces[number] = Trace(summary.get("weights_sha256", ""), tracer.events)
    sys.setprofile(None)
    return [traces[number] for number in sorted(traces)]


def in_processes(number: int, run: Callable[[], Any]) -> Any:
    """What `run` gives in this process, as the first of so many that torchrun has started. The
    others are copies of it."""
    if number == 1:
        return run()
    import torch.distributed

    places = as_torchrun(number)

    def as_rank(rank: int) -> Any:
        os.environ.update(places[rank])
        return run()

    copies = multiprocessing.get_context("fork")
    others = [copies.Process(target=as_rank, args=(rank,)) for rank in range(1, number)]
    before = dict(os.environ)
    try:
        for process in others:
            process.start()
        return as_rank(0)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process in others:
            process.kill()
            process.join()
        os.environ.clear()
        os.environ.update(before)


def send_traces(answer: Connection, side: str, programs: list[Any]) -> None:
    answer.send([run.to_dict() for run in trace(side, programs)])


def main() -> None:
    programs: dict[str, list[Any]] = json.loads(sys.argv[1])
    # tqdm reads it when imported: the bar is drawn at every call, so that counts do not depend on
    # the time.
    os.environ["TQDM_MININTERVAL"] = "0"
    multiprocessing.set_start_method("fork" if sys.platform == "linux" else "spawn")
    answers: list[tuple[str, slice, Connection]] = []
    for side, wanted in programs.items():
        for name in IMPORTS[side] if sys.platform == "linux" else ():
            importlib.import_module(name)
        for first in range(min(PROCESSES[side], len(wanted))):
            share = slice(first, None, PROCESSES[side])
            answer, end = multiprocessing.Pipe(duplex=False)
            multiprocessing.Process(target=send_traces, args=(end, side, wanted[share])).start()
            # Only the copy holds this end now, so that its death is seen.
            end.close()
            answers.append((side, share, answer))
    found: dict[str, list[Any]] = {side: [None] * len(wanted) for side, wanted in programs.items()}
    try:
        for side, share, answer in answers:
            found[side][share] = answer.recv()
    except EOFError:
        sys.exit(1)  # the copy has said why
    finally:
        # One that nobody listens to any more would wait for ever.
        for copy in multiprocessing.active_children():
            copy.kill()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
