"""What the tests share: a folder of their own, both sides behind one call, and runs to look at."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.waiting  # noqa: F401  before torch
import torch
from filelock import FileLock
from support.fewer import fewer
from support.made_up import made_up_bench
from support.programs import Run, short
from torch.utils.tensorboard import SummaryWriter

import shared.data
import shared.data.download
import shared.figures
from shared.compare.comparison import compare, read_runs
from shared.compare.page import page
from shared.compare.page.bench import bench_section
from shared.compare.trace.events import from_dict
from shared.compare.trace.tracing import Both, trace_both
from shared.config import Config
from shared.files import SIDES
from shared.signals import caught

pytest_plugins = [
    "support.faults",
    "support.learner",
    "support.mirror",
    "support.programs",
    "support.two_processes",
    "support.warm",
]

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)  # before those that -m leaves out are taken away
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tracing both sides takes half a minute, and so `make test-long` looks at the traces."""
    for item in items:
        if "traced" in getattr(item, "fixturenames", ()):
            item.add_marker("long")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Sums are taken in another order with another number of threads, and so come out otherwise.
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def closed_terminals_end_programs() -> None:
    # Started by nohup, the tests would ignore this signal, and so would all that they start.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_pictures() -> Iterator[pytest.MonkeyPatch]:
    """Figures and graphs take as long as the rest of a short run; test_tensorboard.py asks for them
    by undoing this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SummaryWriter, "add_figure", lambda *_, **__: None)
        patch.setattr(shared.figures, "confusion_figure", lambda *_: None)
        patch.setattr(shared.figures, "mistakes_figure", lambda *_: None)
        patch.setattr(SummaryWriter, "add_graph", lambda *_, **__: None)
        yield patch


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power; waiting until the disk has everything takes a third of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def left_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a folder of its own, and what a run switches for its process is put back."""
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in caught()}
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    timeout = socket.getdefaulttimeout()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    socket.setdefaulttimeout(timeout)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def fit() -> Callable[..., dict[str, Any]]:
    """`fit(side, **options)` trains in this process, below the current folder."""
    return lambda side, **options: importlib.import_module(f"{side}.train").train(short(**options))


def _trained(folder: Path, **options: Any) -> None:
    for side in SIDES:
        config = short(run_dir=str(folder / side), width=Config.width, **options)
        importlib.import_module(f"{side}.train").train(config)


@pytest.fixture(scope="module")
def quarter_of_the_digits() -> Iterator[None]:
    """Train and evaluate on every fourth picture: 314, 45 and 90 of them. With batches a quarter as
    large, an epoch has as many steps as it has with all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared.data, "load", fewer(shared.data.load, slice(1, None, 4)))
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once("name", make)` calls `make(path)` once for all processes that share the tests."""

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = tmp_path_factory.getbasetemp()
        path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / name
        with FileLock(f"{path}.lock"):
            if not path.exists():
                make(path)
        return path

    return made


def _runs(folder: Path) -> dict[str, Run]:
    summaries = {side: (folder / side / "summary.json").read_text() for side in SIDES}
    return {side: Run(folder / side, json.loads(text)) for side, text in summaries.items()}


@pytest.fixture(scope="session")
def one_epoch(once: Callable[..., Path]) -> dict[str, Run]:
    """A run of one epoch of each side, to be looked at and not to be changed."""
    return _runs(once("one_epoch", _trained))


@pytest.fixture(scope="session")
def trained(once: Callable[..., Path]) -> Path:
    """The folder of a run with the recipe of the digits as it is, to be looked at only."""

    def make(folder: Path) -> None:
        recipe = short(run_dir=str(folder), width=Config.width, max_epochs=None)
        importlib.import_module("raw_pytorch.train").train(recipe)

    return once("trained", make)


@pytest.fixture(scope="session")
def traced(once: Callable[..., Path]) -> list[Both]:
    """What the programs of both sides did, call by call."""

    def make(folder: Path) -> None:
        rows = [
            (both.program, both.flag, both.raw.to_dict(), both.lightning.to_dict())
            for both in trace_both()
        ]
        folder.write_text(json.dumps(rows))

    rows = json.loads(once("traces", make).read_text())
    return [Both(program, flag, *map(from_dict, traces)) for program, flag, *traces in rows]


@pytest.fixture(scope="session")
def compared(once: Callable[..., Path], one_epoch: dict[str, Run], traced: list[Both]) -> Path:
    """A folder with a run of one epoch of each side, to be compared and not to be changed, and the
    page about them and a made-up bench, index.html."""

    def make(folder: Path) -> None:
        for side, run in one_epoch.items():
            shutil.copytree(run.folder, folder / side)
        compared = compare(*read_runs(*(folder / side for side in SIDES)), traced)
        with pytest.MonkeyPatch.context() as patch:
            shown = bench_section(made_up_bench(), quick=False)
            patch.setattr(page, "newest_bench", lambda: shown)
            (folder / "index.html").write_text(page.render(compared))

    return once("compared", make)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this must not ask the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """The folder with the four original files, which not every machine has."""
    places = [
        os.environ.get("MNIST_DIR", ""),
        ROOT / "data/MNIST/raw",
        ROOT / "../shared/data/mnist",
    ]
    for place in places:
        if place and (Path(place) / "train-images-idx3-ubyte.gz").is_file():
            return Path(place).resolve()
    pytest.skip("the original MNIST files are not on this machine; MNIST_DIR can name their folder")
