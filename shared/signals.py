"""Signals that ask a run to end, from a terminal or from a cluster whose time is up: it ends after
the step it is in, with a checkpoint to resume from. Neither PyTorch nor Lightning does this by
itself."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from shared import ranks
from shared.config import Config
from shared.errors import ENDING, Interrupted, fail, ignore_signals


def caught() -> list[signal.Signals]:
    """The signals that end a run. Under nohup, a closed terminal is none of them."""
    is_nohup = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in ENDING if not (number.name == "SIGHUP" and is_nohup)]


def _catch(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in caught():
        signal.signal(number, handler)


def leave_on_signal() -> None:
    """From now on, a signal ends the program at once, with one line and status 130: while there is
    nothing to save, and libraries take seconds to load."""
    if threading.current_thread() is threading.main_thread():
        _catch(partial(_leave, os.getpid()))


def leave_with_launcher() -> None:
    """From now on, this process ends as by SIGTERM when the command that has started it is gone:
    killed itself, that command could not tell it to."""
    if ranks.launched():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)  # for the checkpoint
    os._exit(130)


def _leave(process: int, number: int, frame: FrameType | None) -> NoReturn:
    if os.getpid() != process:  # a worker, which the terminal sends it to, too
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(130)
    ignore_signals()
    fail(f"interrupted by {signal.Signals(number).name}", 130)


class Interrupt:
    """Catches the signals from now on. Made in the main thread.

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
        _catch(self._handle)

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
