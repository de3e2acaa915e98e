"""Programs in processes of their own: run to their end and looked at, or ended with all that they
have started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shared.signals import caught

# The folder that holds both sides and `shared`.
ROOT = Path(__file__).resolve().parents[1]
# Seconds that a program has to save its work after Ctrl+C, which reaches it as well as us.
PATIENCE = 3.0
# Bytes in which the system counts memory: Linux in kilobytes, macOS in bytes.
UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Finished:
    """A program that has come to its end.

    Attributes:
        status: its exit status, or minus the number of the signal that ended it.
        out: what it wrote to stdout.
        err: what it wrote to stderr, unless that was shown.
        started: when it was started, in seconds of `time.perf_counter`.
        memory: most bytes that it had in use, or this process when it started it.
    """

    status: int
    out: str
    err: str
    started: float
    memory: int

    @property
    def last_line(self) -> str:
        """What it said last, which of a program that failed is the reason."""
        return last_line(self.err) or last_line(self.out) or "no message"


def run_module(
    module: str, arguments: Sequence[str] = (), *, folder: Path | None = None, show: bool = False
) -> Finished:
    """Run `python -m module arguments` to its end.

    Args:
        folder: where it runs; it finds this repository's programs anywhere.
        show: let its stderr through to ours. It then speaks for us, too: a signal that asks us to
            end is handed on to it, once, and it has the time that it takes.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=None if show else err,
            start_new_session=show,  # or a terminal would give it the signal, too
        )
        try:
            with _handing_on(process) if show else contextlib.nullcontext():
                # Waited for by hand: only this says how much memory that one process took.
                _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        written = _read(out), _read(err)
    return Finished(process.returncode, *written, started, usage.ru_maxrss * UNIT)


@contextlib.contextmanager
def _handing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def hand_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)

    before = {number: signal.signal(number, hand_on) for number in caught()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def start_group(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a program in a folder, as the leader of a group of processes.

    Returns:
        The process, whose `stdout` gives what it writes, stderr included, line by line.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop_group(process: subprocess.Popen[str]) -> None:
    """End a program that leads a group, and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def as_torchrun(number: int) -> list[dict[str, str]]:
    """The variables with which torchrun starts each of `number` processes on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    everywhere = {
        "TORCHELASTIC_RUN_ID": "ours", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number), "GROUP_RANK": "0",
    }  # fmt: skip
    return [{**everywhere, "RANK": str(n), "LOCAL_RANK": str(n)} for n in range(number)]


def last_line(text: str) -> str:
    """The last line that says something, cut at 200 characters; empty where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:200]
