"""SIGINT and SIGTERM, which is what a cluster's scheduler sends: a run ends after the step it is
in, with a checkpoint to go on from. Neither PyTorch nor Lightning does this by itself."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from types import FrameType

from shared.config import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Catches both signals from now on.

    While `deferred`, the first one is only remembered, for the loop to look at between two steps; a
    second one, or any while not deferred, ends the run at once.
    """

    def __init__(self, side: str, run_dir: Path) -> None:
        file = shlex.quote(str(run_dir / "config.yaml"))
        self.command = f"python -m {side}.train --config {file} --ckpt_path last"
        self.received: signal.Signals | None = None
        self.deferred = False

    def defer(self) -> None:
        """Call this in the main thread, when the first checkpoint can be written."""
        self.deferred = True
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signal.Signals(number)
        if again or not self.deferred:
            self.check()

    def check(self) -> None:
        """End the run if a signal came. Call this where `last.ckpt` is up to date.

        Raises:
            Interrupted: its message says how to go on.
        """
        if self.received is not None:
            raise Interrupted(f"interrupted by {self.received.name}; to go on: {self.command}")

    def finish(self) -> None:
        """Training is over: stop if a signal came, and from now on at once when one comes."""
        self.deferred = False
        self.check()
