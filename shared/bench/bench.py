"""How fast both sides are, and what Lightning costs: python -m shared.bench.bench (make bench)

Both sides and the limit run in turn, each in a process of its own, several times; the ladder of
features is climbed within one. Every result is written to runs/bench at once; a bench that was
interrupted is taken up by the next one, if neither the code nor the machine has changed. `--only`
measures one part anew, and puts it into the whole bench that this machine has made before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.bench.machine import describe_machine
from shared.bench.plan import Task, make_noise, plan
from shared.bench.timing import Times, epoch_seconds, step_seconds, time_ladder, time_program
from shared.compare.source.lines import ROOT
from shared.config import Config
from shared.errors import Interrupted, RunError, UsageError, fail, run
from shared.files import RUNS, write_atomically

FOLDER = RUNS / "bench"
FULL, QUICK, UNFINISHED = (FOLDER / f"{name}.json" for name in ("bench", "quick", "unfinished"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.bench.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few parts, little repeated")
    parser.add_argument("--only", help="one part: digits, mnist, limit, ladder, steps, ...")
    parser.add_argument("--data_dir", default=os.environ.get("MNIST_DIR", "data"))
    parser.add_argument("--threads", type=int, default=Config().threads, help="of every program")
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.error = lambda message: fail(message, 2)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run(lambda: bench(args))


def bench(args: argparse.Namespace) -> None:
    """Make the runs of the plan that are not there yet, then the figures and the table.

    Raises:
        UsageError: there is no such part.
        Interrupted: by Ctrl+C; what was measured is kept.
    """
    from shared.bench import figures as bench_figures
    from shared.bench import tables as bench_tables

    with tempfile.TemporaryDirectory() as folder:
        mnist = find_mnist(args.data_dir)
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
            measure(runs, result, Path(folder), args)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {len(result['runs'])} of {len(runs)} runs are kept in {UNFINISHED}, "
                "and the same command goes on"
            ) from None
    path = QUICK if args.quick or args.only else FULL
    os.replace(UNFINISHED, path)
    if args.only is not None and not args.quick:
        result, path = put_into_whole(result, args.only)
    bench_figures.draw_all(result, FOLDER)
    print(f"\n{bench_tables.terminal(result)}\n\nwritten {path}, and the figures beside it")


def put_into_whole(result: dict[str, Any], part: str) -> tuple[dict[str, Any], Path]:
    """The whole bench with the part that was measured anew, if there is one of this machine and
    with these settings; else the part alone. And the file."""
    whole = json.loads(FULL.read_text()) if FULL.is_file() else {}
    of_one_kind = ("data_dir", "threads", "accelerator")
    if whole.get("machine") != result["machine"] or any(
        whole["settings"][name] != result["settings"][name] for name in of_one_kind
    ):
        return result, QUICK
    others = [row for row in whole["runs"] if row["part"] != part]
    whole["runs"] = [*others, *result["runs"]]
    whole["planned"] = len(whole["runs"])
    write_atomically(FULL, dumps(whole))
    return whole, FULL


def find_mnist(data_dir: str) -> Path | None:
    """The folder of MNIST's four files, where they are."""
    for folder in (Path(data_dir), Path(data_dir) / "MNIST" / "raw"):
        if any(folder.glob("train-images-idx3-ubyte*")):
            return folder.resolve()
    return None


def begin(args: argparse.Namespace, planned: int) -> dict[str, Any]:
    """A result without runs, or that of a bench of the same kind that was interrupted."""
    settings = {**vars(args), "data_dir": find_mnist(args.data_dir) is not None}
    result = {
        "machine": describe_machine(), "settings": settings, "code": digest(),
        "date": time.strftime("%Y-%m-%d"), "planned": planned, "runs": [],
    }  # fmt: skip
    FOLDER.mkdir(parents=True, exist_ok=True)
    if UNFINISHED.is_file():
        there = json.loads(UNFINISHED.read_text())
        if all(there[key] == result[key] for key in ("machine", "settings", "code")):
            print(f"going on: {len(there['runs'])} runs are there from a bench that was stopped")
            return there
        print("a bench of other code or another kind was stopped here; starting anew")
    return result


def digest() -> str:
    """SHA-256 of all code that the timed programs consist of."""
    tools = [ROOT / "shared" / "bench" / f"{name}.py" for name in ("limit", "ladder", "plan")]
    sources = sorted(
        p for side in ("raw_pytorch", "lightning", "shared") for p in ROOT.glob(f"{side}/*.py")
    )
    return hashlib.sha256(b"".join(p.read_bytes() for p in [*sources, *tools])).hexdigest()


def measure(
    runs: list[tuple[Task, int]], result: dict[str, Any], folder: Path, args: argparse.Namespace
) -> None:
    common = ["--accelerator", args.accelerator, "--threads", str(args.threads)]
    done = {(r["part"], r["point"], r["who"], r["repeat"]) for r in result["runs"]}
    todo = [(t, n) for t, n in runs if (t.part, t.point, t.who, n) not in done]
    started, rungs = time.perf_counter(), {}
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
        result["runs"].append({**reduce(task, times), "repeat": repeat})
        write_atomically(UNFINISHED, dumps(result))
        left = (time.perf_counter() - started) / (index + 1) * (len(todo) - index - 1)
        row = result["runs"][-1]
        what = f"{task.part} {task.point}".strip()
        print(
            f"{len(result['runs']):3} of {len(runs)}  {what:16} {task.who:12}"
            f"{row['step_us']:9,.0f} µs a step   about {left / 60:.0f} min left",
            flush=True,
        )


def reduce(task: Task, times: Times) -> dict[str, Any]:
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
        "batch_size": task.batch_size,
        "steps_per_epoch": task.steps_per_epoch,
        "step_us": round(step_seconds(times.steps, task.steps_per_epoch) * 1e6, 1),
        "epoch_ms": None if epoch is None else round(epoch * 1e3, 2),
        "first_step_s": round(times.steps[0], 3),
        "total_s": round(times.ended, 3) if task.whole else None,
        "memory_mb": round(times.memory / 1e6, 1),
    }


def dumps(result: dict[str, Any]) -> str:
    """JSON with a line for each run."""
    head = json.dumps({k: v for k, v in result.items() if k != "runs"}, indent=1)
    rows = ",\n".join("  " + json.dumps(row) for row in result["runs"])
    return f'{head[:-2]},\n "runs": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    main()
