"""Programs in forks of a warm Python, which spares each the seconds that its imports take."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

SERVER = Path(__file__).with_name("server.py")
# What takes seconds to import, and is installed.
SLOW = (
    "torch", "torch.utils.tensorboard", "torchmetrics.classification", "pytorch_lightning",
    "matplotlib.figure", "jsonargparse", "yaml",
)  # fmt: skip


class Fork:
    """A program that runs, with those methods of `subprocess.Popen` that one waits with. It leads a
    group of processes, of which `pid` is the number."""

    def __init__(self, words: Sequence[str], answers: socket.socket) -> None:
        self.args, self.answers = words, answers
        self.said = b""
        self.returncode: int | None = None
        self.pid = int(self._line(None))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it is still running after so many seconds.
        """
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            self.answers.close()
        return self.returncode

    def _line(self, timeout: float | None) -> bytes:
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self.said:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self.answers], [], [], left)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0.0)
            more = self.answers.recv(100)
            if not more:  # whoever keeps it was ended
                raise ChildProcessError(f"{self.args[0]}: lost the process that ran it")
            self.said += more
        line, _, self.said = self.said.partition(b"\n")
        return line


class Forks:
    """A warm Python; `open_forks` makes one."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.asking = threading.Lock()
        self.started: list[Fork] = []

    def popen(
        self, words: Sequence[str], cwd: Path | None, env: Mapping[str, str], stdout: IO[str],
        **_: object,
    ) -> Fork:  # fmt: skip
        """Start a program as `subprocess.Popen` would, with those of its arguments that the
        divergence tool gives; stderr goes where stdout goes."""
        return self.start(words, cwd or Path.cwd(), stdout, env)

    def start(
        self,
        words: Sequence[str],
        folder: Path,
        output: IO[str],
        environment: Mapping[str, str] | None = None,
        errors: IO[str] | None = None,
    ) -> Fork:
        """Start a program in a fork; the first one waits until everything is imported.

        Args:
            words: a command line that begins with this Python, then a script or -m and a module.
            output: an open file for what it writes.
            environment: without it, that of this process.
            errors: an open file for stderr, if that is to be apart.

        Raises:
            ChildProcessError: the warm Python has ended.
        """
        ours, theirs = socket.socketpair()
        request = {
            "arguments": list(words[1:]),
            "folder": str(folder),
            "environment": dict(os.environ if environment is None else environment),
        }
        with theirs:
            files = [output.fileno(), (errors or output).fileno(), theirs.fileno()]
            data = json.dumps(request).encode() + b"\n"
            try:
                with self.asking:
                    sent = socket.send_fds(self.requests, [data], files)
                    self.requests.sendall(data[sent:])
            except ConnectionError:
                raise ChildProcessError("the Python that runs the programs has ended") from None
        fork = Fork(words, ours)
        self.started.append(fork)
        return fork

    def end(self) -> None:
        """End what still runs."""
        for fork in self.started:
            if fork.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(fork.pid, signal.SIGKILL)


@contextlib.contextmanager
def open_forks(modules: Sequence[str] = SLOW) -> Iterator[Forks]:
    """Start a warm Python, which ends with the block, and what still runs in it too."""
    ours, theirs = socket.socketpair()
    with theirs:
        # As text and not as a file, whose lines would pass for the program's own in a traceback.
        words = [sys.executable, "-c", SERVER.read_text(encoding="utf-8"), *modules]
        # Ctrl+C in the terminal is for whoever asks, who then ends what was started.
        server = subprocess.Popen(words, stdin=theirs.fileno(), start_new_session=True)
    try:
        with ours:
            forks = Forks(ours)
            try:
                yield forks
            finally:
                forks.end()
    finally:
        server.kill()
        server.wait()
