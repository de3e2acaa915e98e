"""Makes the mistakes of the catalogue, and sees each named.

python -m shared.mistakes        (make mistakes)

Writes runs/mistakes/mistakes.json, from which the compare page has its section about them and the
README of this folder its table.
"""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import RunError, UsageError, run
from shared.files import RUNS, write_atomically
from shared.forks.client import open_forks
from shared.mistakes.catalogue import Mistake, mistakes, twins
from shared.reporting.command_line import InstrumentParser
from shared.signals import leave_on_signal

if TYPE_CHECKING:
    from shared.mistakes.gallery import Exhibit

# Runs at the same time.
AT_ONCE = 2
PATH = RUNS / "mistakes" / "mistakes.json"


def main() -> None:
    leave_on_signal()
    parser = InstrumentParser(prog="python -m shared.mistakes", description=__doc__)
    parser.add_argument("--only", default="", help="only mistakes with this in their name")
    args = parser.parse_args()
    run(lambda: make_mistakes(args.only))


def make_mistakes(only: str) -> None:
    """Make the mistakes with `only` in their name, one after the other.

    Raises:
        UsageError: there is none.
        RunError: the divergence tool named one otherwise than the catalogue says.
    """
    chosen = [mistake for mistake in (*mistakes(), *twins()) if only in mistake.name]
    if not chosen:
        raise UsageError(f"--only: got {only}; no mistake of the catalogue has this in its name")
    # With torch, which --help and a wrong flag need not.
    from shared.mistakes.gallery import exhibit, right_key, right_run

    exhibits: list[Exhibit] = []
    # Sums are taken in another order by more threads; and two runs have a core each.
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        tempfile.TemporaryDirectory() as name,
        ThreadPoolExecutor(AT_ONCE) as pool,
        open_forks() as forks,
    ):
        folder = Path(name)
        different = {right_key(mistake): mistake for mistake in chosen}
        print(f"{len(different)} runs without mistakes, then {len(chosen)} with one", flush=True)
        # They come first in the queue, and so are ended or under way when another waits for one.
        right_runs = {
            key: pool.submit(right_run, mistake, folder, forks.popen)
            for key, mistake in different.items()
        }
        made = pool.map(
            lambda m: exhibit(m, folder, right_runs[right_key(m)].result(), forks.popen), chosen
        )
        for mistake, row in zip(chosen, made, strict=True):
            exhibits.append(row)
            print(said(mistake, row), flush=True)
    PATH.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(PATH, json.dumps({"rows": exhibits}, indent=1) + "\n")
    print(f"\nwritten {PATH}")
    missed = [row["mistake"] for row in exhibits if row["found"] != row["expected"]]
    if missed:
        raise RunError(f"not found as expected: {', '.join(missed)}")


def said(mistake: Mistake, row: Exhibit) -> str:
    """Two lines: the test accuracies with and without the mistake, and what was found."""
    side = "lightning" if mistake.side == "lightning" else "raw"
    wrong, right = row["wrong"]["test_accuracy"], row["right"]["test_accuracy"]
    found = row["found"] or {"cause": "nothing", "step": 0}
    surprise = "" if row["found"] == row["expected"] else " NOT AS EXPECTED"
    return (
        f"{mistake.name[:44]:44} {side:9} {wrong:.1%} {right:.1%}  step {found['step']}\n"
        f"    {found['cause']}{surprise}"
    )


if __name__ == "__main__":
    main()
