"""SIGINT and SIGTERM, which is what a cluster's scheduler sends: a run ends after the step it is
in, with a checkpoint to resume from. Neither PyTorch nor Lightning does this by itself."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from shared.config import Config
from shared.errors import Interrupted, fail

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def leave_on_signal() -> None:
    """From now on, either signal ends the program at once, with one line and status 130: while
    there is nothing to save, and libraries take seconds to load."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, partial(_leave, os.getpid()))


def _leave(process: int, number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    if os.getpid() != process:  # a worker, which the terminal sends it to, too
        raise SystemExit(130)
    fail(f"interrupted by {signal.Signals(number).name}", 130)


class Interrupt:
    """Catches both signals from now on. Made in the main thread.

    Args:
        any_of: tells whether a flag is set in any of several processes.

    While `deferred`, the first one is only remembered, for the loop to look at between two steps; a
    second one, or any while not deferred, ends the run at once.
    """

    def __init__(
        self, side: str, run_dir: Path, config: Config, any_of: Callable[[bool], bool] = bool
    ) -> None:
        flags = ["--config", str(run_dir / "config.yaml"), "--ckpt_path", "last"]
        program = ["-m", side, "train", *flags]
        self.how = f"to resume: {shlex.join([sys.executable or 'python', *program])}"
        if config.num_nodes > 1:  # where torchrun is told about the other machines, too
            self.how = f"to resume, start torchrun on each machine with {shlex.join(program)}"
        self.received: signal.Signals | None = None
        self.deferred = False
        self.any_of = any_of
        self.last = run_dir / "checkpoints" / "last.ckpt"
        self.catch()

    def catch(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def defer(self) -> None:
        """Call this when the first checkpoint can be written."""
        self.deferred = True
        self.catch()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signal.Signals(number)
        if again or not self.deferred:
            self.leave()

    def requested(self) -> bool:
        """Whether a signal came, to any process: all of them have to stop at the same step, and so
        all have to ask at the same step."""
        return self.any_of(self.received is not None)

    def leave(self) -> NoReturn:
        """End the run. Call this where `last.ckpt` is up to date, or not there yet.

        Raises:
            Interrupted: its message says how to resume.
        """
        name = self.received.name if self.received else "a signal to another process"
        if not self.last.is_file():
            raise Interrupted(f"interrupted by {name} before there was a checkpoint to resume from")
        raise Interrupted(f"interrupted by {name}; {self.how}")

    def leave_if_requested(self) -> None:
        """`leave`, if a signal came to any process. Every process asks at the same place."""
        if self.requested():
            self.leave()

    def finish(self) -> None:
        """Training is over: stop if a signal came, and from now on at once when one comes."""
        self.deferred = False
        self.leave_if_requested()
