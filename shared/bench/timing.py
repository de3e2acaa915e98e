"""Time a program in a process of its own, and make a few numbers of the times of its steps."""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from shared.bench.results import Profile
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
    """When things happened to a program, in seconds from its start, as far as it was looked at.

    Attributes:
        steps: the end of each optimizer step.
        ended: the end of the program, or of its last step if it was stopped there.
        cpu: what it had taken of the CPU at its first step, or at its end if it made none.
        memory: most bytes it had in use.
        fit: its `fit_seconds`, and `accuracy` that of its test.
    """

    steps: list[float]
    ended: float = 0.0
    cpu: float | None = None
    memory: int | None = None
    fit: float | None = None
    accuracy: float | None = None


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
    return Times(steps, times["ended"] - done.started, times["cpu"], done.memory)


def time_side(side: str, arguments: Sequence[str], run_dir: Path, *, alone: bool = True) -> Times:
    """Run `train` of a side to its end.

    Args:
        run_dir: the run folder that the arguments name.
        alone: in one process, whose steps are noted.

    Raises:
        RunError: it failed.
    """
    if alone:
        times = time_program(["-m", side, "train", *arguments])
    else:
        done = run_module(side, ["train", *arguments])
        if done.status:
            raise RunError(f"{side} ended with status {done.status}: {done.last_line}")
        times = Times([], time.perf_counter() - done.started)
    summary = json.loads((run_dir / "summary.json").read_text())
    fit, accuracy = summary["fit_seconds"], summary["test_accuracy"]
    return dataclasses.replace(times, fit=fit, accuracy=accuracy)


def time_beside(side: str, arguments: Sequence[str], run_dirs: Sequence[Path]) -> Times:
    """Run `train` of a side in several processes at once, each with a run folder of its own.

    Returns:
        The times of the one that took longest to fit.

    Raises:
        RunError: one of them failed.
    """
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(time_side, side, [*arguments, "--run_dir", str(path)], path)
            for path in run_dirs
        ]
    return max((run.result() for run in runs), key=lambda times: times.fit or 0.0)


def time_series(runs: Sequence[tuple[str, Sequence[str]]], common: Sequence[str]) -> list[Times]:
    """Make many short trainings in one process, one after the other.

    Args:
        runs: for each, who trains and its own flags of train.
        common: the flags of all.

    Raises:
        RunError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, plan = Path(folder) / "result.json", Path(folder) / "runs.json"
        plan.write_text(json.dumps(runs))
        done = run_module("shared.bench.timed.series", [str(path), str(plan), *common])
        if done.status:
            raise RunError(f"the series ended with status {done.status}: {done.last_line}")
        trained = json.loads(path.read_text())
    return [Times(run["steps"], fit=run["fit_seconds"]) for run in trained]


def profile_written(common: Sequence[str]) -> Profile:
    """Which functions of Lightning take how much of a step, in a process of its own.

    Raises:
        RunError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        done = run_module("shared.bench.timed.profile", [str(path), *common])
        if done.status:
            raise RunError(f"the profile ended with status {done.status}: {done.last_line}")
        return json.loads(path.read_text())


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
