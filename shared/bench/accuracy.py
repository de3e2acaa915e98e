"""Accuracy over five seeds, on both sides: make accuracy DATASET=mnist ARGS="--max_epochs 1"

Arguments are those of the two train programs, but for --seed and --run_dir.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from shared.cli import parse_args
from shared.errors import fail
from shared.files import RUNS, SIDES, write_atomically
from shared.processes import run_module

SEEDS = range(5)


def main() -> None:
    arguments = sys.argv[1:]
    config, _ = parse_args(
        "shared.bench.accuracy",
        arguments,
        description="Train both sides with five seeds, and compare.",
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for side in SIDES:
                run_dir = Path(folder) / f"{side}-{seed}"
                flags = ["train", *arguments, "--seed", str(seed), "--run_dir", str(run_dir)]
                done = run_module(side, flags, show=True)
                if done.status == 130:  # it has said so
                    raise SystemExit(130)
                if done.status:
                    fail(f"{side} train --seed {seed} ended with status {done.status}", 1)
                rows.append(json.loads((run_dir / "summary.json").read_text()))
            raw, lightning = rows[-2:]
            same = "equal" if raw["weights_sha256"] == lightning["weights_sha256"] else "DIFFERENT"
            accuracies = f"{raw['test_accuracy']:.2%} {lightning['test_accuracy']:.2%}"
            print(f"seed {seed}  test {accuracies}  weights {same}", flush=True)
    result = {"dataset": config.dataset, "epochs": config.max_epochs, "runs": rows}
    path = RUNS / "accuracy" / f"{config.dataset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=2) + "\n")
    for side in SIDES:
        found = [row["test_accuracy"] for row in rows if row["implementation"] == side]
        print(f"{side:11}  mean {statistics.mean(found):.2%}, least {min(found):.2%}")
    if any(
        raw["weights_sha256"] != lightning["weights_sha256"]
        for raw, lightning in zip(rows[::2], rows[1::2], strict=True)
    ):
        fail("the two sides ended with different weights", 1)


if __name__ == "__main__":
    main()
