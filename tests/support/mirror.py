"""A small dataset in MNIST's files, and a server of them that misbehaves when told to."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import shared.data.download


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
