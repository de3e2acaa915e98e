"""Other people's programs against ours, side by side: make bench-peers PEERS=FOLDER

Every script in the folder (`FOLDER/*.py` and `FOLDER/*/main.py`) is run as it is, in its own
folder, until it prints a test accuracy of 99 %; then it is stopped. Ours train for one epoch of
MNIST and run to their end, the tested model. The seconds are those from the start of the process,
import time included.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from shared.bench.machine import cores, describe_machine
from shared.bench.results import FOLDER, PEERS, PEERS_UNFINISHED, PeerResult, digest, dumps
from shared.bench.tables import peers_table
from shared.errors import Interrupted, RunError, UsageError, run
from shared.files import SIDES, write_atomically
from shared.processes import ROOT, start_group, stop_group
from shared.reporting.command_line import InstrumentParser

GOAL = 0.99
# Others take every core. Ours are timed with one thread, their default, and with as many as there
# are cores; of more than four, so small a network makes no use.
THREADS = sorted({1, min(4, cores() or 1)})

# What a line has to hold to be read as a test accuracy: the word, and behind it counts (which say
# more than the rounded percentage beside them), a percentage, or a fraction.
WORD = re.compile(r"(?<![a-z])acc(?:uracy)?(?![a-z])", re.I)
OTHER_SPLIT = re.compile(r"(?<![a-z])(?:train|val)", re.I)
COUNTS = re.compile(r"(\d+)\s*/\s*(\d+)")
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
FRACTION = re.compile(r"\b([01]\.\d+)\b")


def read_accuracy(line: str) -> float | None:
    """The test accuracy that a line of output tells, from 0 to 1; None if it tells none.

    Understands `Accuracy: 9912/10000 (99%)`, `test accuracy 99.12%` and `acc=0.9912`. A line about
    training or validation is none.
    """
    word = WORD.search(line)
    if word is None or OTHER_SPLIT.search(line):
        return None
    rest = line[word.end() :]
    if found := COUNTS.search(rest):
        right, count = int(found[1]), int(found[2])
        return right / count if count > 0 and right <= count else None
    if found := PERCENT.search(rest):
        return float(found[1]) / 100 if float(found[1]) <= 100 else None
    if found := FRACTION.search(rest):
        return float(found[1]) if float(found[1]) <= 1 else None
    return None


class Reached(TypedDict):
    """How far a program came: `seconds` to the goal, or None; the best `accuracy` seen, or None;
    the exit `status`, or None where the program was stopped."""

    seconds: float | None
    accuracy: float | None
    status: int | None


def time_to_goal(
    command: list[str], folder: Path, goal: float, timeout: float, *, to_its_end: bool = False
) -> Reached:
    """Run a program until it prints a test accuracy that reaches the goal.

    Args:
        timeout: seconds after which it is stopped.
        to_its_end: let it finish, and count until then.
    """
    started = time.perf_counter()
    process = start_group(command, folder)
    alarm = threading.Timer(timeout, stop_group, [process])
    alarm.start()
    best: float | None = None
    seconds: float | None = None
    try:
        for line in process.stdout or ():
            accuracy = read_accuracy(line)
            if accuracy is None:
                continue
            best = max(accuracy, best or 0.0)
            if accuracy >= goal and seconds is None:
                seconds = time.perf_counter() - started
                if not to_its_end:
                    break
        is_running = seconds is not None and not to_its_end
        status = None if is_running else process.wait()
        if to_its_end and seconds is not None:
            seconds = time.perf_counter() - started
    finally:
        alarm.cancel()
        stop_group(process)
    return {
        "seconds": None if seconds is None else round(seconds, 3),
        "accuracy": best,
        "status": None if status == -signal.SIGKILL else status,
    }


def scripts(folder: Path) -> dict[str, Path]:
    """The programs in a folder, by name.

    Raises:
        UsageError: there are none.
    """
    found = {path.name: path for path in sorted(folder.glob("*.py"))}
    found |= {f"{path.parent.name}/main.py": path for path in sorted(folder.glob("*/main.py"))}
    if not found:
        raise UsageError(f"PEERS: no *.py and no */main.py in {folder}; give a folder of scripts")
    return found


def in_turn(names: list[str], repeats: int) -> Iterator[tuple[str, int | None]]:
    """Who runs, and with how many threads: ours before and after each of the others, so that all
    meet the same machine."""
    ours = [(side, threads) for threads in THREADS for side in SIDES]
    for repeat in range(repeats):
        order = ours if repeat % 2 == 0 else ours[::-1]
        for name in names:
            yield from order
            yield name, None
        yield from order[::-1]


def time_all(args: argparse.Namespace) -> None:
    """Time all of them, and write every result at once.

    Raises:
        UsageError: there is nothing to time, or MNIST is not there.
        RunError: one of ours failed, or did not reach the goal.
    """
    if args.folder is None:
        raise UsageError("PEERS: not given; name the folder of the scripts: PEERS=FOLDER")
    there = scripts(Path(args.folder))
    from shared.data import find_folder  # torch takes seconds, and a wrong flag need not

    mnist = find_folder("mnist", args.data_dir)
    if mnist is None:
        raise UsageError(f"--data_dir: no MNIST files in {args.data_dir}; give their folder")
    FOLDER.mkdir(parents=True, exist_ok=True)
    result: PeerResult = {
        "machine": describe_machine(), "settings": {"threads": THREADS[-1]}, "code": digest(),
        "date": time.strftime("%Y-%m-%d"), "goal": args.goal, "runs": [],
    }  # fmt: skip
    todo = list(in_turn(list(there), args.repeats))
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, threads) in enumerate(todo):
            flags = [] if threads is None else ["--threads", str(threads)]
            label = " ".join([name, *flags])
            print(f"{index + 1:3} of {len(todo)}  {label:24}", end="", flush=True)
            if flags:
                command = [sys.executable, "-m", name, "train", "--dataset", "mnist"]
                command += ["--data_dir", str(mnist.resolve()), "--max_epochs", "1"]
                command += [*flags, "--run_dir", str(Path(folder) / str(index))]
                found = time_to_goal(command, ROOT, args.goal, args.timeout, to_its_end=True)
            else:
                script = there[name].resolve()
                command = [sys.executable, script.name]
                found = time_to_goal(command, script.parent, args.goal, args.timeout)
            result["runs"].append({"who": name, "threads": threads, **found})
            write_atomically(PEERS_UNFINISHED, dumps(result))
            seconds, best = found["seconds"], found["accuracy"]
            said = f"best {best:.2%}" if best is not None else "no accuracy printed"
            print(
                "not reached" if seconds is None else f"{seconds:9.1f} s", f"  {said}", flush=True
            )
            if flags and seconds is None:
                raise RunError(f"{name} train did not reach {args.goal:.2%} ({said})")
    os.replace(PEERS_UNFINISHED, PEERS)
    print(f"\n{peers_table(result)}\n\nwritten {PEERS}")


def main() -> None:
    parser = InstrumentParser(prog="python -m shared.bench.peers", description=__doc__)
    parser.add_argument("folder", nargs="?", help="the folder of the scripts")
    parser.add_argument("--goal", type=float, default=GOAL, help="test accuracy, from 0 to 1")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each script")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each run at most")
    parser.add_argument("--data_dir", default=os.environ.get("MNIST_DIR", "data"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def command() -> None:
        try:
            time_all(args)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; what was measured is kept in {PEERS_UNFINISHED}"
            ) from None

    run(command)


if __name__ == "__main__":
    main()
