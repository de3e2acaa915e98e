"""A training program in a process of its own that dies at a chosen moment, by a real signal.

The processes are forked from one that has imported what takes seconds to import, so that a case
takes about a second: `multiprocessing`'s fork server. It computes nothing itself, and so has no
threads that a fork would lose.

A process that is to die in the middle of a write gives itself a limit on the size of files: the
kernel writes up to there and ends the process within the write, by SIGXFSZ. Like after SIGKILL,
nothing of it runs any more; and unlike with a timer, the place is exact.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from multiprocessing import forkserver, get_context, set_start_method
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import get_worker_info as worker_info
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

import shared.data
from shared.errors import run
from support.fewer import fewer

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, BATCHES, BATCH = 3, 4, 20

# Where a process can die: in the loss of a training batch, in that of an evaluated one, before a
# file is opened, moved or removed, or within the writing of a checkpoint, of a point of TensorBoard
# or of the summary. And in a worker that loads batches, which dies alone.
PLACES = ("step", "validation", "file", "checkpoint", "event", "summary")


class Moment(NamedTuple):
    """The `index`-th time that the process comes by `place`, and what happens there; None is an
    error instead of a signal."""

    place: str
    index: int
    signal: signal.Signals | None = signal.SIGKILL


class Ended(NamedTuple):
    status: int
    """The exit status, or minus the signal that ended the process."""
    text: str
    """All that it printed."""


class Clock:
    """Counts how often the process comes by each place, and lets it die at the chosen moment."""

    def __init__(self, run_dir: Path, moment: Moment | None) -> None:
        self.run_dir, self.moment = run_dir, moment
        self.counts: Counter[str] = Counter()
        self.elsewhere: set[str] = set()
        self.samples: list[tuple[int, int, int]] = []

    def passes(self, place: str, limit: int | None = None) -> None:
        now = (place, self.counts[place])
        self.counts[place] += 1
        if self.moment is None or now != self.moment[:2]:
            return
        if self.moment.signal is None:
            raise IndexError("picture 7 is not there")
        if limit is None:
            os.kill(os.getpid(), self.moment.signal)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def sample(self) -> None:
        """How many files are open, the pages of memory in use, and the bytes of points written."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        points = sum(path.stat().st_size for path in self.run_dir.glob("events*"))
        self.samples.append((len(os.listdir("/proc/self/fd")), pages, points))

    def hears(self, event: str, arguments: tuple) -> None:
        """Python calls this before every operation on a file."""
        writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir"):
            self._file(arguments[0])

    def _file(self, path: Any) -> None:
        if not isinstance(path, (str, Path)):
            return
        if str(path).startswith(str(self.run_dir)):
            if Path(path).name.startswith(".summary.json"):
                self.passes("summary", limit=100)
            self.passes("file")
        elif str(path).startswith(tempfile.gettempdir()):
            self.elsewhere.add(str(path))


def work(side: str, run_dir: str, moment: Moment | None, log: str, arguments: list[str]) -> None:
    """Train on a few digits, in the process that this is called in and that it ends."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    # As in a terminal; a shell starts what is to run in its background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    set_start_method("fork", force=True)  # for the workers of a loader, as in any other process
    torch.set_num_threads(1)
    clock = Clock(Path(run_dir), moment)
    cross_entropy, save, add_event = F.cross_entropy, torch.save, FileWriter.add_event

    def counted_loss(*args: Any, **kwargs: Any) -> torch.Tensor:
        clock.passes("step" if torch.is_grad_enabled() else "validation")
        if not torch.is_grad_enabled():
            clock.sample()
        return cross_entropy(*args, **kwargs)

    def counted_save(content: Any, file: io.BytesIO, **kwargs: Any) -> None:
        save(content, file, **kwargs)
        # Somewhere in the file: all of it would be written otherwise.
        size = file.getbuffer().nbytes
        clock.passes("checkpoint", limit=size * (clock.counts["checkpoint"] % 7 + 1) // 8)

    def counted_event(writer: FileWriter, *args: Any, **kwargs: Any) -> None:
        # Written at once, and not when two minutes are over: there is more to tear.
        path = writer.event_writer._file_name
        clock.passes("event", limit=os.path.getsize(path) + 13)
        add_event(writer, *args, **kwargs)
        writer.flush()

    def counted_batch(split: shared.data.ImageDataset, indices: list[int]) -> Any:
        if os.getpid() != pid and len(split) > BATCH:  # in a worker that trains
            with open(f"{log}.workers", "a") as file:
                file.write(f"{os.getpid()}\n")
            if worker_info().id == 0:
                clock.passes("worker")
        return get_batch(split, indices)

    pid, get_batch = os.getpid(), shared.data.ImageDataset.__getitems__
    shared.data.ImageDataset.__getitems__ = counted_batch
    shared.data.load = fewer(shared.data.load, slice(BATCHES * BATCH), slice(BATCH))
    F.cross_entropy, torch.save = counted_loss, counted_save
    FileWriter.add_event = counted_event
    for name in ("add_figure", "add_graph"):  # these take as long as all the rest
        setattr(SummaryWriter, name, lambda *_, **__: None)
    sys.addaudithook(clock.hears)
    sys.argv = [
        side, "train", "--run_dir", run_dir, "--max_epochs", str(EPOCHS),
        "--batch_size", str(BATCH), "--dropout", "0.3", "--accelerator", "cpu",
        "--log_every_n_steps", "1", "--checkpoint_every_n_steps", "2", *arguments,
    ]  # fmt: skip
    run(importlib.import_module(f"{side}.__main__").main)
    passed = {
        "counts": clock.counts,
        "elsewhere": sorted(clock.elsewhere),
        "samples": clock.samples,
    }
    Path(log).with_suffix(".json").write_text(json.dumps(passed))


# What the server imports before it forks.
SLOW = [
    "support.killed", "pytorch_lightning", "sklearn.datasets", "torchmetrics", "jsonargparse",
    "yaml",
    "raw_pytorch.checkpoint", "raw_pytorch.data", "raw_pytorch.devices", "raw_pytorch.distributed",
    "raw_pytorch.evaluate", "raw_pytorch.logger", "raw_pytorch.module", "lightning.data",
    "lightning.module",
]  # fmt: skip


def fork_server() -> Any:
    """A context whose processes are forked from a server that has imported all this."""
    context = get_context("forkserver")
    context.set_forkserver_preload(SLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    return context


def start(side: str, run_dir: Path, moment: Moment | None = None, *arguments: str) -> Any:
    """Start a training process; `ended` waits for it."""
    log = f"{run_dir}-{len(list(run_dir.parent.iterdir()))}.log"
    arguments = (side, str(run_dir), moment, log, arguments)
    process = fork_server().Process(target=work, args=arguments)
    process.start()
    process.log = log
    return process


def ended(process: ForkServerProcess, seconds: float = 120) -> Ended:
    process.join(seconds)
    assert process.exitcode is not None, "it does not end"
    return Ended(process.exitcode, Path(process.log).read_text())
