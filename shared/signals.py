"""SIGINT and SIGTERM, which is what a cluster's scheduler sends: a run ends after the step it is
in, with a checkpoint to go on from. Neither PyTorch nor Lightning does this by itself."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from shared.config import Config, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        file = shlex.quote(str(run_dir / "config.yaml"))
        program = "python -m" if config.num_nodes == 1 else "torchrun, on each machine, -m"
        self.command = f"{program} {side}.train --config {file} --ckpt_path last"
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
            Interrupted: its message says how to go on.
        """
        name = self.received.name if self.received else "a signal to another process"
        if not self.last.is_file():
            raise Interrupted(f"interrupted by {name}, before there was a checkpoint to go on from")
        raise Interrupted(f"interrupted by {name}; to go on: {self.command}")

    def finish(self) -> None:
        """Training is over: stop if a signal came, and from now on at once when one comes."""
        self.deferred = False
        if self.requested():
            self.leave()
