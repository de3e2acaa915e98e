"""Both sides beside each other: one page in runs/compare/<dataset>/index.html.

python -m shared.compare --dataset digits --max_epochs 3
python -m shared.compare --raw RUN --lightning RUN
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.cli import parse_args
from shared.config import Config
from shared.errors import RunError, UsageError, run
from shared.files import RUNS, SIDES, write_atomically
from shared.processes import run_module

FLAGS = ("--raw", "--lightning")
TABLES = "--tables"


def main() -> None:
    argv = [word for word in sys.argv[1:] if word != TABLES]
    shows_tables = TABLES in sys.argv[1:]
    if any(word.split("=")[0] in FLAGS for word in argv):
        run(lambda: write_page(*given_folders(argv), shows_tables))
    else:
        config, _ = parse_args(
            "shared.compare",
            argv,
            description="Write a page that compares the newest run of each side with these flags; "
            "a side that has none is trained. Or, with --raw RUN --lightning RUN, compare two runs "
            "that are there. --tables prints the tables, too.",
        )
        run(lambda: write_page(*both_runs(config, argv), shows_tables))


def given_folders(argv: list[str]) -> tuple[Path, Path]:
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
    return values.raw, values.lightning


def both_runs(config: Config, argv: list[str]) -> tuple[Path, Path]:
    """The newest finished run of each side with this configuration; a side that has none is
    trained.

    Raises:
        UsageError: the flags make no two runs to compare.
        RunError: a side failed.
    """
    from shared.compare.runs import newest_run

    if config.fast_dev_run:
        raise UsageError("--fast_dev_run: it writes nothing that could be compared; leave it out")
    if config.run_dir is not None:
        raise UsageError("--run_dir: each side has a folder of its own here; leave it out")
    raw, lightning = (newest_run(side, config) or train(side, argv) for side in SIDES)
    return raw, lightning


def train(side: str, argv: list[str]) -> Path:
    """Train a side in a process of its own, as a user would, and give its run folder.

    Raises:
        RunError: it failed.
        SystemExit: it was interrupted, and has said so.
    """
    print(f"training {side} ...", flush=True)
    done = run_module(side, ["train", *argv], show=True)
    if done.status == 130:
        raise SystemExit(130)
    if done.status:
        raise RunError(f"{side} train ended with status {done.status}")
    folder = next(x for x in done.out.splitlines() if x.startswith("run folder"))
    return Path(folder.split(maxsplit=2)[2])


def write_page(raw: Path, lightning: Path, shows_tables: bool = False) -> None:
    """Write the page about two runs, and say what it found.

    Raises:
        UsageError: a folder holds no finished run, or the two are of different datasets.
        RunError: the same recipe ended with different weights; the page is written all the same.
    """
    # A wrong flag is answered before all of this is imported, which takes seconds.
    from shared.compare.comparison import compare, read_runs
    from shared.compare.page.page import draw, render
    from shared.compare.runs import other_settings
    from shared.compare.terminal import tables, verdict
    from shared.compare.trace.tracing import trace_both

    runs = read_runs(raw, lightning)
    print("tracing two batches of both sides ...", flush=True)
    with ThreadPoolExecutor(1) as pool:
        traced = pool.submit(trace_both, runs[0].config)
        drawings = draw(*runs)  # meanwhile: what is traced runs in other processes
        compared = compare(*runs, traced.result())
    path = RUNS / "compare" / compared.raw.summary["dataset"] / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render(compared, drawings))
    print(verdict(compared))
    if shows_tables:
        print(f"\n{tables(compared)}\n")
    print(path.resolve().as_uri())
    if not compared.equal and not other_settings(compared.raw, compared.lightning):
        raise RunError("the two sides ended with different weights")


if __name__ == "__main__":
    main()
