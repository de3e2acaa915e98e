"""Time a program in a process of its own, and make a few numbers of the times of its steps."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from shared.errors import RunError
from shared.processes import run_module

# Steps at the start of a run that are left out of the time per step: memory is taken for the first
# time, and the processor comes out of its sleep.
WARM_UP = 10
# Intervals in a block. The time per step is the median of the blocks' means: what comes with every
# step or every few counts, and a moment in which the machine did something else does not. On a GPU
# a step ends for the clock when its work is queued; over a block, that comes to the same.
BLOCK = 100


@dataclass(frozen=True)
class Times:
    """When things happened to a program, in seconds from its start.

    Attributes:
        steps: the end of each optimizer step.
        ended: the end of the program, or of its last step if it was stopped there.
        memory: most bytes it had in use.
    """

    steps: list[float]
    ended: float
    memory: int


def time_program(program: Sequence[str], limit: int = 0) -> Times:
    """Run `-m module [arguments]` or `script.py [arguments]`, to its end or for `limit` steps.

    Raises:
        RunError: it failed; the message holds the last line that it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        done = run_module("shared.bench.timed.stopwatch", [str(path), str(limit), "--", *program])
        if done.status or not path.is_file():
            name = " ".join(program[:2]).removeprefix("-m ")
            raise RunError(f"{name} ended with status {done.status}: {done.last_line}")
        times = json.loads(path.read_text())
    steps = [step - done.started for step in times["steps"]]
    return Times(steps, times["ended"] - done.started, done.memory)


def time_ladder(rounds: int, flags: Sequence[str]) -> dict[str, list[Times]]:
    """Climb the ladder, in one process: for each rung, the times of each round.

    Raises:
        RunError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        done = run_module("shared.bench.timed.ladder", [str(path), str(rounds), *flags])
        if done.status:
            raise RunError(f"the ladder ended with status {done.status}: {done.last_line}")
        found = json.loads(path.read_text())
    return {name: [Times(steps, steps[-1], 0) for steps in runs] for name, runs in found.items()}


def step_seconds(steps: Sequence[float], steps_per_epoch: int) -> float:
    """The time of one optimizer step within an epoch: the median over blocks of steps.

    Args:
        steps: the end of each step, in seconds.

    Raises:
        ValueError: there are too few steps to tell.
    """
    warm_up = WARM_UP if len(steps) > 3 * WARM_UP else 0
    means = []
    for start in range(0, len(steps), steps_per_epoch):
        epoch = steps[max(start, warm_up) : start + steps_per_epoch]
        for first in range(0, len(epoch) - 1, BLOCK):
            block = epoch[first : first + BLOCK + 1]
            # The rest of an epoch that is much shorter than the others would count as much.
            if first == 0 or len(block) > BLOCK // 2:
                means.append((block[-1] - block[0]) / (len(block) - 1))
    if not means:
        raise ValueError(f"{len(steps)} steps in epochs of {steps_per_epoch}: too few to time")
    return statistics.median(means)


def epoch_seconds(steps: Sequence[float], steps_per_epoch: int) -> float | None:
    """From the first step of one epoch to that of the next, validation and checkpoints included:
    the median over all epochs but the first, unless there is only that. None if it has no next."""
    epochs = [after - before for before, after in pairwise(steps[::steps_per_epoch])]
    return statistics.median(epochs[1:] or epochs) if epochs else None
