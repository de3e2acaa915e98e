"""Making the runs of a bench, one after the other."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from shared.bench.figures import write_figures
from shared.bench.machine import describe_machine
from shared.bench.plan import Task, make_noise, plan
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
from shared.bench.timing import Times, epoch_seconds, step_seconds, time_ladder, time_program
from shared.data import find_folder
from shared.errors import Interrupted, RunError, UsageError
from shared.files import write_atomically


def make_bench(args: argparse.Namespace) -> None:
    """Make the runs of the plan that are not there yet, then the figures and the table.

    Raises:
        UsageError: there is no such part.
        Interrupted: by Ctrl+C; what was measured is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        mnist = find_folder("mnist", args.data_dir)
        if mnist is None:
            print(f"no MNIST in {args.data_dir} (--data_dir): left out; the limit is that of noise")
        runs = plan(mnist, Path(folder) / "noise", args.quick)
        if args.only is not None:
            parts = list(dict.fromkeys(task.part for task, _ in runs))
            if args.only not in parts:
                raise UsageError(f"--only: got {args.only}; give one of {', '.join(parts)}")
            runs = [(task, repeat) for task, repeat in runs if task.part == args.only]
        result = begin(args, len(runs))
        try:
            make_runs(runs, result, Path(folder), args)
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
    whole["planned"] = len(whole["runs"])
    write_atomically(FULL, dumps(whole))
    return whole, FULL


def begin(args: argparse.Namespace, planned: int) -> BenchResult:
    """A result without runs, or that of a bench of the same kind that was interrupted."""
    settings = {**vars(args), "data_dir": find_folder("mnist", args.data_dir) is not None}
    result: BenchResult = {
        "machine": describe_machine(), "settings": settings, "code": digest(),
        "date": time.strftime("%Y-%m-%d"), "planned": planned, "runs": [],
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
    common = ["--accelerator", args.accelerator, "--threads", str(args.threads)]
    done = {(r["part"], r["point"], r["who"], r["repeat"]) for r in result["runs"]}
    todo = [(t, n) for t, n in runs if (t.part, t.point, t.who, n) not in done]
    started = time.perf_counter()
    rungs: dict[str, list[Times]] = {}
    for index, (task, repeat) in enumerate(todo):
        for noise in (Path(flag) for flag in task.flags if flag.startswith(f"{folder}/noise/")):
            if not noise.exists():
                make_noise(noise, int(noise.name))
        if task.part == "ladder":
            if not rungs:
                rounds = 1 + max(n for t, n in runs if t.part == "ladder")
                print(f"the ladder, {rounds} rounds in one process ...", flush=True)
                epochs = ["--max_epochs", str(task.epochs + 1)]
                flags = [*task.flags, "--batch_size", str(task.batch_size), *epochs, *common]
                rungs = time_ladder(rounds, flags)
            whole = rungs[task.who][repeat]
            times = Times(whole.steps[: task.limit], whole.ended, whole.memory)
        else:
            run_dir = folder / f"{len(done)}-{index}"
            times = time_program([*task.program(run_dir), *common], task.limit)
        result["runs"].append(reduce(task, repeat, times))
        write_atomically(UNFINISHED, dumps(result))
        left = (time.perf_counter() - started) / (index + 1) * (len(todo) - index - 1)
        row = result["runs"][-1]
        what = f"{task.part} {task.point}".strip()
        print(
            f"{len(result['runs']):3} of {len(runs)}  {what:16} {task.who:12}"
            f"{row['step_us']:9,.0f} µs a step   about {left / 60:.0f} min left",
            flush=True,
        )


def reduce(task: Task, repeat: int, times: Times) -> BenchRun:
    """The numbers of one run that are kept.

    Raises:
        RunError: it took another number of steps than its epochs have.
    """
    expected = task.limit or task.epochs * task.steps_per_epoch
    if len(times.steps) != expected:
        raise RunError(f"{task.who} took {len(times.steps)} steps; expected {expected}")
    epoch = epoch_seconds(times.steps, task.steps_per_epoch)
    return {
        "part": task.part,
        "point": task.point,
        "who": task.who,
        "repeat": repeat,
        "batch_size": task.batch_size,
        "steps_per_epoch": task.steps_per_epoch,
        "step_us": round(step_seconds(times.steps, task.steps_per_epoch) * 1e6, 1),
        "epoch_ms": None if epoch is None else round(epoch * 1e3, 2),
        "first_step_s": round(times.steps[0], 3),
        "total_s": round(times.ended, 3) if task.whole else None,
        "memory_mb": round(times.memory / 1e6, 1),
    }
