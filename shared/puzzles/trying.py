"""One try: a learner's file, run once in a fork, with limits of time and of what it prints."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from shared.divergence.records import Run, read
from shared.forks.client import Fork, Forks
from shared.processes import ROOT

CHILD = Path(__file__).with_name("child.py")
# What a file may print, in bytes, and the seconds between two looks at it.
MOST_PRINTED, LOOK = 1_000_000, 0.05


@dataclass(frozen=True)
class Try:
    """What came of one run of a file.

    Attributes:
        file: what was run.
        how: "finished", "left" (by sys.exit), "crashed", "endless", "flood" (it printed too much),
            "syntax" (it was not run), or "gone" (it ended without a word).
        error: of a crash or a wrong syntax, in one line.
        line: of the file, where that was; 0 if it is not known.
        run: what the divergence tool recorded.
        points: what was logged, as (tag, step) to value.
        weights: SHA-256 of the weights that the file leaves in `module`; empty if it does not.
        trainer_steps: the steps of the Trainer that it leaves in `trainer`; 0 if it does not.
        copied: the kept file that it opened; empty if it opened none.
        seconds: from the start to the end.
    """

    file: Path
    how: str
    error: str = ""
    line: int = 0
    run: Run = field(default_factory=Run)
    points: Mapping[tuple[str, int], float] = field(default_factory=dict)
    weights: str = ""
    trainer_steps: int = 0
    copied: str = ""
    seconds: float = 0.0


def run_file(forks: Forks, file: Path, limit: float) -> Try:
    """Run a file in a folder of its own.

    Args:
        limit: seconds after which it is ended.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        compile(file.read_bytes(), str(file), "exec")
    except (SyntaxError, ValueError) as error:  # a ValueError for a byte of zero
        line = getattr(error, "lineno", 0) or 0
        return Try(file, "syntax", getattr(error, "msg", "") or str(error), line)
    with tempfile.TemporaryDirectory(prefix="puzzle-") as place:
        folder = Path(place)
        with open(folder / "printed.txt", "w") as output:
            words = [sys.executable, str(CHILD), place, str(file.resolve()), str(limit)]
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            started = forks.start(words, folder, output, environment)
            began = time.monotonic()  # from here on, for the first one waits until all is loaded
            try:
                stopped = _watched(started, folder, began + 2 * limit)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)
        seconds = time.monotonic() - began
        record = folder / "record.jsonl"
        recorded = read(record) if record.exists() else Run()
        if stopped:
            stack = (folder / "stack.txt").read_text() if stopped == "endless" else ""
            return Try(file, stopped, line=_line_in(stack, file), run=recorded, seconds=seconds)
        if not (folder / "result.json").exists():
            return Try(file, "gone", run=recorded, seconds=seconds)
        result = json.loads((folder / "result.json").read_text())
    points = {(tag, step): value for tag, step, value in result.pop("points")}
    return Try(file, run=recorded, points=points, seconds=seconds, **result)


def _watched(started: Fork, folder: Path, end: float) -> str:
    """Wait for a program. Returns why it has to be stopped; empty if it came to its end.

    It says itself where it is when its time is over; `end` is for one that cannot even do that.
    """
    printed, stack = folder / "printed.txt", folder / "stack.txt"
    while True:
        with suppress(subprocess.TimeoutExpired):
            started.wait(LOOK)
            return "flood" if printed.stat().st_size > MOST_PRINTED else ""
        if printed.stat().st_size > MOST_PRINTED:
            return "flood"
        if time.monotonic() > end or (stack.exists() and stack.stat().st_size):
            time.sleep(LOOK)  # until all of the stack is written
            return "endless"


def _line_in(stack: str, file: Path) -> int:
    """The innermost line of a file in what faulthandler wrote; 0 if there is none."""
    found = re.search(rf'File "{re.escape(str(file.resolve()))}", line (\d+)', stack)
    return int(found[1]) if found else 0
