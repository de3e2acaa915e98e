"""Both sides beside each other: one table here, and one page in runs/compare/<dataset>/index.html.

python -m shared.compare --dataset digits --max_epochs 3
python -m shared.compare --raw RUN --lightning RUN
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from shared.cli import parse_args
from shared.config import Config
from shared.errors import RunError, UsageError, run
from shared.files import RUNS, SIDES, write_atomically

FLAGS = ("--raw", "--lightning")


def main() -> None:
    argv = sys.argv[1:]
    if any(word.split("=")[0] in FLAGS for word in argv):
        folders = run(lambda: given_folders(argv))
        memory: list[int | None] = [None, None]
    else:
        config, _ = parse_args(
            "shared.compare",
            argv,
            description="Train both sides, and write a page that compares them; or, with --raw RUN "
            "--lightning RUN and nothing else, compare two runs that are there.",
        )
        run(lambda: check(config))
        trained = [run(lambda side=side: train(side, argv)) for side in SIDES]
        folders, memory = [t[0] for t in trained], [t[1] for t in trained]
    run(lambda: compare(folders, memory))


def given_folders(argv: list[str]) -> list[Path]:
    """The two run folders that the command line names.

    Raises:
        UsageError: one is missing, or something else was given too.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for flag in FLAGS:
        parser.add_argument(flag, type=Path)
    try:
        values, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: expected the folder of a run") from None
    for flag, folder in zip(FLAGS, (values.raw, values.lightning), strict=True):
        if folder is None:
            raise UsageError(f"{flag}: missing; both folders are needed: --raw RUN --lightning RUN")
    if rest:
        raise UsageError(f"{rest[0]}: not together with --raw and --lightning, which do not train")
    return [values.raw, values.lightning]


def check(config: Config) -> None:
    """Refuse what makes no two runs to compare."""
    if config.fast_dev_run:
        raise UsageError("--fast_dev_run: it writes nothing that could be compared; leave it out")
    if config.run_dir is not None:
        raise UsageError("--run_dir: each side has a folder of its own here; leave it out")


def train(side: str, argv: list[str]) -> tuple[Path, int]:
    """Train a side in a process of its own, as a user would.

    Returns:
        The run folder, and the most bytes that its process had in use.

    Raises:
        RunError: it failed.
    """
    print(f"training {side} ...", flush=True)
    # More points on the curves than by default; a flag given by the user comes later and wins.
    command = [sys.executable, "-m", side, "train", "--log_every_n_steps", "5", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        out = process.stdout.read()
        # Waited for by hand: only this says how much memory that one process took.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunError(f"{side} train ended with status {process.returncode}")
    folder = next(x for x in out.splitlines() if x.startswith("run folder")).split(maxsplit=2)[2]
    # Kilobytes on Linux, bytes on macOS.
    return Path(folder), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def compare(folders: list[Path], memory: list[int | None]) -> None:
    """Write the page about two runs, and print its tables.

    Raises:
        UsageError: a folder holds no finished run, or the two are of different datasets.
        RunError: the same recipe ended with different weights; the page is written all the same.
    """
    from shared.compare import terminal
    from shared.compare.page import page
    from shared.compare.runs import other_settings

    print("comparing; both sides run once more for two batches, to be traced ...", flush=True)
    comparison = page.make_comparison(*folders, memory=tuple(memory))
    path = RUNS / "compare" / comparison.raw.summary["dataset"] / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.render(comparison))
    print(terminal.report(comparison))
    print(f"\nthe page      {path}")
    if not comparison.equal and not other_settings(comparison.raw, comparison.lightning):
        raise RunError("the two sides ended with different weights")


if __name__ == "__main__":
    main()
