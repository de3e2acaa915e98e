"""What the tests share: a folder of their own, both sides behind one call, small data, and a server
that misbehaves when told to."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from filelock import FileLock
from support.made_up import made_up_bench
from torch.utils.tensorboard import SummaryWriter

import shared.data
import shared.data.download
from shared.compare.comparison import compare_runs
from shared.compare.page import page
from shared.compare.page.bench import bench_section
from shared.compare.trace.events import from_dict
from shared.compare.trace.tracing import Both, trace_both
from shared.config import Config
from shared.files import SIDES

pytest_plugins = "support.faults"

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Sums are taken in another order with another number of threads, and so come out otherwise.
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_pictures() -> Iterator[pytest.MonkeyPatch]:
    """Figures and graphs take as long as the rest of a short run; test_tensorboard.py asks for them
    by undoing this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SummaryWriter, "add_figure", lambda *_, **__: None)
        patch.setattr(SummaryWriter, "add_graph", lambda *_, **__: None)
        yield patch


@pytest.fixture(autouse=True)
def left_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a folder of its own, and what a run switches for its process is put back."""
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
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


def short(**options: Any) -> Config:
    """One epoch of the digits on the CPU, unless told otherwise."""
    return Config(**{"max_epochs": 1, "accelerator": "cpu", "progress_bar": False, **options})


@pytest.fixture(scope="session")
def fit() -> Callable[..., dict[str, Any]]:
    """`fit(side, **options)` trains in this process, below the current folder."""
    return lambda side, **options: importlib.import_module(f"{side}.train").train(short(**options))


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """`command("raw_pytorch", "train", "--seed", "1")` runs a program's `main` in this process."""

    def run(program: str, *arguments: object) -> Outcome:
        module = importlib.import_module(program)
        is_package = hasattr(module, "__path__")
        main = (importlib.import_module(f"{program}.__main__") if is_package else module).main
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def program() -> Callable[..., Outcome]:
    """`program("raw_pytorch", "train", "--help")` runs a program as a user does, as a process."""

    def run(name: str, *arguments: object, timeout: float = 120) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", name, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


class Run(NamedTuple):
    folder: Path
    summary: dict[str, Any]


def _trained(folder: Path, **options: Any) -> None:
    for side in SIDES:
        config = short(run_dir=str(folder / side), **options)
        importlib.import_module(f"{side}.train").train(config)


@pytest.fixture(scope="module")
def quarter_of_the_digits() -> Iterator[None]:
    """Train and evaluate on every fourth picture: 314, 45 and 90 of them. With batches a quarter as
    large, an epoch has as many steps as it has with all of them."""
    load = shared.data.load

    def quarter(*args: Any) -> dict[str, shared.data.ImageDataset]:
        splits = load(*args)
        for split in splits.values():
            split.images, split.labels = split.images[1::4], split.labels[1::4]
        return splits

    shared.data.load = quarter
    yield
    shared.data.load = load


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
def trained(once: Callable[..., Path]) -> dict[str, Run]:
    """A run of each side with the recipe of the digits as it is, to be looked at only."""
    return _runs(once("trained", lambda folder: _trained(folder, max_epochs=None)))


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
def compared(once: Callable[..., Path], traced: list[Both]) -> Path:
    """A folder with a run of two epochs of each side, to be compared and not to be changed, and the
    page about them and a made-up bench, index.html."""

    def make(folder: Path) -> None:
        _trained(folder, max_epochs=2, log_every_n_steps=5)
        compared = compare_runs(*(folder / side for side in SIDES), traced=traced)
        with pytest.MonkeyPatch.context() as patch:
            shown = bench_section(made_up_bench(), quick=False)
            patch.setattr(page, "newest_bench", lambda: shown)
            (folder / "index.html").write_text(page.render(compared))

    return once("compared", make)


def idx(values: np.ndarray) -> bytes:
    """Bytes of any shape in the IDX format."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def small_arrays() -> dict[str, np.ndarray]:
    """240 pictures to train on and 60 to test on, scikit-learn's digits enlarged, by file name."""
    from sklearn.datasets import load_digits

    data = load_digits()
    large = np.kron(data.images[:300] * (255 / 16), np.ones((3, 3))).round()
    images = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    labels = data.target[:300].astype(np.uint8)
    return {
        "train-images-idx3-ubyte": images[:240],
        "train-labels-idx1-ubyte": labels[:240],
        "t10k-images-idx3-ubyte": images[240:],
        "t10k-labels-idx1-ubyte": labels[240:],
    }


@pytest.fixture(scope="session")
def small_files(small_arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The same as the four .gz files of a dataset, by file name."""
    return {f"{name}.gz": gzip.compress(idx(v), mtime=0) for name, v in small_arrays.items()}


@pytest.fixture
def small_mnist(
    small_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with the four .gz files, which torchvision takes for the original MNIST."""
    expect_sums_of(small_files, monkeypatch)
    folder = tmp_path / "small"
    write_files(folder, small_files)
    return folder


def expect_sums_of(files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    sums = [
        (name, hashlib.md5(content, usedforsecurity=False).hexdigest())
        for name, content in files.items()
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", sums)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@dataclass
class Mirror:
    """A web server on this machine. `behaviour` says what it does with a GET, `only` with which
    file, `times` how often, before it does well: well (None), "truncate", "close", "corrupt",
    "503", "404", "redirect", "stall", "drip", "drip headers" or "endless"."""

    url: str
    files: Mapping[str, bytes]
    behaviour: str | None = None
    only: str | None = None
    times: float = float("inf")
    requests: list[str] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rsplit("/", 1)[-1]
        self.requests.append(name)
        content = self.files.get(name)
        behaviour = self.behaviour if self.only in (None, name) and self.times > 0 else None
        self.times -= behaviour is not None
        if behaviour == "close":
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if behaviour == "redirect":
            request.send_response(302)
            request.send_header("Location", self.url + name)
            request.end_headers()
            return
        if content is None or behaviour in ("404", "503"):
            request.send_error(int(behaviour or 404))
            return
        if behaviour == "drip headers":
            self.drip(request, b"HTTP/1.0 200 OK\r\nX: ")
            return
        request.send_response(200)
        if behaviour != "endless":
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if behaviour == "truncate":
            content = content[: len(content) // 2]
        elif behaviour == "corrupt":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if behaviour == "stall":
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            self.stalled.set()
            self.closing.wait(60)
            return
        if behaviour == "drip":
            self.drip(request, content[:10])
        while behaviour == "endless":
            request.wfile.write(bytes(1 << 16))
        request.wfile.write(content)

    def drip(self, request: BaseHTTPRequestHandler, start: bytes) -> None:
        """No read ever waits for long, and the file never comes."""
        request.wfile.write(start)
        while not self.closing.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()


@pytest.fixture
def mirrors(small_files: dict[str, bytes]) -> Iterator[Callable[[], Mirror]]:
    """`mirrors()` starts one more server that has the four small files."""
    started: list[tuple[Mirror, ThreadingHTTPServer]] = []

    def start() -> Mirror:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):  # whoever asked has gone
                    mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        mirror = Mirror(f"http://127.0.0.1:{server.server_port}/", small_files)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        started.append((mirror, server))
        return mirror

    yield start
    for mirror, server in started:
        mirror.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(
    mirrors: Callable[[], Mirror],
    small_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Mirror:
    """A server that torchvision takes for the only one that has MNIST, asked again at once."""
    import torchvision.datasets

    monkeypatch.setattr(shared.data.download, "DOWNLOAD_RETRIES", (0.0, 0.0))
    mirror = mirrors()
    expect_sums_of(small_files, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url])
    return mirror


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


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.02)


@pytest.fixture
def one_line() -> Callable[..., None]:
    """`one_line(text, "part", ...)`: one `error:` line, without a traceback, with these parts."""

    def check(text: str, *parts: object) -> None:
        assert text.endswith("\n")
        lines = text.splitlines()
        assert len(lines) == 1, text
        assert lines[0].startswith("error: "), text
        assert len(lines[0]) <= 400, text
        for part in parts:
            assert str(part) in lines[0], text

    return check
