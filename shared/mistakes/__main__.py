"""Makes the mistakes of the catalogue, and sees each named.

python -m shared.mistakes        (make mistakes)

Writes runs/mistakes/mistakes.json, from which the compare page has its section about them and the
README of this folder its table.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from shared.errors import RunError, UsageError, run
from shared.files import RUNS, write_atomically
from shared.mistakes.catalogue import Mistake, mistakes, twins
from shared.mistakes.gallery import Exhibit, Trained, exhibit
from shared.reporting.command_line import InstrumentParser

PATH = RUNS / "mistakes" / "mistakes.json"


def main() -> None:
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
    exhibits: list[Exhibit] = []
    right_runs: dict[str, Trained] = {}
    with tempfile.TemporaryDirectory() as folder:
        for mistake in chosen:
            exhibits.append(exhibit(mistake, Path(folder), right_runs))
            print(said(mistake, exhibits[-1]), flush=True)
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
