"""Making the runs of a bench, one after the other."""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from shared.bench.figures import write_figures
from shared.bench.machine import describe_machine
from shared.bench.plan import BARE, SERIES, Task, make_noise, plan
from shared.bench.results import (
    FOLDER,
    FULL,
    QUICK,
    UNFINISHED,
    BenchResult,
    BenchRun,
    digest,
    dumps,
    read_bench,
)
from shared.bench.tables import terminal
from shared.bench.timing import (
    Times,
    epoch_seconds,
    profile_written,
    step_seconds,
    time_beside,
    time_program,
    time_series,
    time_side,
)
from shared.data import find_folder
from shared.errors import Interrupted, RunError, UsageError
from shared.files import write_atomically

# The part that is no run: where in Lightning a step's time goes.
PROFILE = "profile"


def make_bench(args: argparse.Namespace) -> None:
    """Make the runs of the plan that are not there yet, then the figures and the table.

    Raises:
        UsageError: there is no such part.
        Interrupted: by Ctrl+C; what was measured is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        mnist = find_folder("mnist", args.data_dir)
        if mnist is None:
            print(f"no MNIST in {args.data_dir} (--data_dir): left out")
        runs = plan(mnist, Path(folder) / "noise", args.quick)
        if args.only is not None:
            parts = [*dict.fromkeys(task.part for task, _ in runs), PROFILE]
            if args.only not in parts:
                raise UsageError(f"--only: got {args.only}; give one of {', '.join(parts)}")
            runs = [(task, repeat) for task, repeat in runs if task.part == args.only]
        result = begin(args, len(runs))
        try:
            make_runs(runs, result, Path(folder), args)
            if not result["profile"] and (args.only == PROFILE or not (args.quick or args.only)):
                print("the profile of a step ...", flush=True)
                result["profile"] = profile_written(common_flags(args))
                write_atomically(UNFINISHED, dumps(result))
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {len(result['runs'])} of {len(runs)} runs are kept in {UNFINISHED}, "
                "and the same command goes on"
            ) from None
    path = QUICK if args.quick or args.only else FULL
    os.replace(UNFINISHED, path)
    if args.only is not None and not args.quick:
        result, path = put_into_whole(result, args.only)
    write_figures(result, FOLDER)
    print(f"\n{terminal(result)}\n\nwritten {path}, and the figures beside it")


def put_into_whole(result: BenchResult, part: str) -> tuple[BenchResult, Path]:
    """The whole bench with the part that was measured anew, if there is one of this machine and
    with these settings; else the part alone. And the file."""
    whole = read_bench(FULL)
    of_one_kind = ("data_dir", "threads", "accelerator")
    if (
        whole is None
        or whole["machine"] != result["machine"]
        or any(whole["settings"][name] != result["settings"][name] for name in of_one_kind)
    ):
        return result, QUICK
    others = [row for row in whole["runs"] if row["part"] != part]
    whole["runs"] = [*others, *result["runs"]]
    whole["profile"] = result["profile"] or whole["profile"]
    whole["planned"] = len(whole["runs"])
    write_atomically(FULL, dumps(whole))
    return whole, FULL


def begin(args: argparse.Namespace, planned: int) -> BenchResult:
    """A result without runs, or that of a bench of the same kind that was interrupted."""
    settings = {**vars(args), "data_dir": find_folder("mnist", args.data_dir) is not None}
    result: BenchResult = {
        "machine": describe_machine(), "settings": settings, "code": digest(),
        "date": time.strftime("%Y-%m-%d"), "planned": planned, "runs": [],
        "profile": None,
    }  # fmt: skip
    FOLDER.mkdir(parents=True, exist_ok=True)
    if there := read_bench(UNFINISHED):
        if _kind(there) == _kind(result):
            print(f"going on: {len(there['runs'])} runs are there from a bench that was stopped")
            return there
        print("a bench of other code or another kind was stopped here; starting anew")
    return result


def _kind(result: BenchResult) -> tuple[object, ...]:
    """What two results have in common whose runs may stand side by side."""
    return result["machine"], result["settings"], result["code"]


def make_runs(
    runs: list[tuple[Task, int]], result: BenchResult, folder: Path, args: argparse.Namespace
) -> None:
    """Make the runs that the result does not hold yet, and write it after each."""
    done = {(r["part"], r["point"], r["who"], r["repeat"]) for r in result["runs"]}
    todo = [(t, n) for t, n in runs if (t.part, t.point, t.who, n) not in done]
    started = time.perf_counter()
    for name, group in itertools.groupby(todo, key=lambda run: group_of(run[0])):
        planned = list(group)
        tasks = [task for task, _ in planned]
        make_pictures(tasks, folder)
        if name in SERIES.values():
            print(f"{name}: {len(tasks)} short trainings in one process ...", flush=True)
        for (task, repeat), times in zip(planned, timed(tasks, folder, args), strict=True):
            result["runs"].append(reduce(task, repeat, times))
            if task.part not in SERIES:
                write_atomically(UNFINISHED, dumps(result))
                what = f"{len(result['runs']):3} of {len(runs)}  {task.part} {task.point}"
                passed = f"{(time.perf_counter() - started) / 60:4.1f} min"
                print(f"{what:24} {task.who:18} {times.ended:6.1f} s  after {passed}", flush=True)
        write_atomically(UNFINISHED, dumps(result))


def group_of(task: Task) -> str:
    """Tasks of one name that follow each other are timed together."""
    return SERIES.get(task.part, task.part)


def make_pictures(tasks: list[Task], folder: Path) -> None:
    """Write the pictures of noise that the tasks ask for, where they are not there yet."""
    for flag in dict.fromkeys(flag for task in tasks for flag in task.flags):
        if flag.startswith(f"{folder}/noise/") and not Path(flag).exists():
            make_noise(Path(flag), int(Path(flag).name))


def common_flags(args: argparse.Namespace) -> list[str]:
    """The flags of train that all runs have, unless a run has its own."""
    return ["--accelerator", args.accelerator, "--threads", str(args.threads)]


def timed(tasks: list[Task], folder: Path, args: argparse.Namespace) -> Iterator[Times]:
    """The times of each task of a group, in order."""
    common = common_flags(args)
    if tasks[0].part in SERIES:
        yield from time_series([(task.who, task.arguments()) for task in tasks], common)
        return
    for task in tasks:
        run_dirs = [Path(tempfile.mkdtemp(dir=folder)) / "run" for _ in range(task.copies)]
        arguments = [*common, *task.arguments(run_dirs[0])]
        if task.who in BARE:
            yield time_program(["-m", "shared.bench.timed.bare", task.who])
        elif task.only_start:
            yield time_program(["-m", task.who, "train", *arguments], limit=1)
        elif task.copies > 1:
            yield time_beside(task.who, arguments, run_dirs)
        else:
            yield time_side(task.who, arguments, run_dirs[0], alone=task.processes == 1)


def reduce(task: Task, repeat: int, times: Times) -> BenchRun:
    """The numbers of one run that are kept.

    Raises:
        RunError: it took another number of steps than its epochs have.
    """
    if task.who not in BARE and task.processes == 1 and len(times.steps) != task.steps:
        raise RunError(f"{task.who} took {len(times.steps)} steps; expected {task.steps}")
    epoch = epoch_seconds(times.steps, task.steps_per_epoch) if times.steps else None
    if times.fit is not None:
        epoch = times.fit / task.epochs
    step = None
    if len(times.steps) > 1:
        step = step_seconds(times.steps, task.steps_per_epoch)
    is_watched = times.cpu is not None
    start = times.steps[0] if times.steps else times.ended
    return {
        "part": task.part,
        "point": task.point,
        "who": task.who,
        "repeat": repeat,
        "images": task.images,
        "batch_size": task.batch_size,
        "epochs": task.epochs,
        "steps_per_epoch": task.steps_per_epoch,
        "step_us": rounded(step, 1e6, 1),
        "epoch_ms": rounded(epoch, 1e3, 2),
        "fit_s": rounded(times.fit, 1, 4),
        "start_s": rounded(start, 1, 3) if is_watched else None,
        "start_cpu_s": rounded(times.cpu, 1, 3),
        "total_s": rounded(times.ended, 1, 3) if times.accuracy is not None else None,
        "test_accuracy": times.accuracy,
        "memory_mb": rounded(times.memory, 1e-6, 1),
    }


def rounded(value: float | None, unit: float, digits: int) -> float | None:
    """A number in a smaller unit, with so many digits after the point."""
    return None if value is None else round(value * unit, digits)
