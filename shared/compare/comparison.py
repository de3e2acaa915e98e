"""What is known of two runs side by side: all that the page and the terminal show of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.compare.runs import FinishedRun, read_run
from shared.compare.source.concerns import CONCERNS, concerns, total
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace.answers import Answer, answers
from shared.compare.trace.timeline import Moment, moments
from shared.compare.trace.tracing import Both
from shared.errors import UsageError


@dataclass(frozen=True)
class ComparedRuns:
    """Two runs, and what was found out about them.

    Attributes:
        answers: who makes every call of the raw programs.
        moments: the first batch in time.
    """

    raw: FinishedRun
    lightning: FinishedRun
    answers: list[Answer]
    moments: list[Moment]

    @property
    def equal(self) -> bool:
        names = ("weights_sha256", "best_weights_sha256")
        return all(self.raw.summary[n] == self.lightning.summary[n] for n in names)


def read_runs(raw: Path, lightning: Path) -> tuple[FinishedRun, FinishedRun]:
    """Read two run folders.

    Raises:
        UsageError: a folder holds no finished run, or the two are of different datasets.
    """
    runs = read_run("raw_pytorch", raw), read_run("lightning", lightning)
    datasets = [run.summary["dataset"] for run in runs]
    if datasets[0] != datasets[1]:
        raise UsageError(f"--lightning: a run on {datasets[1]}; the raw one is on {datasets[0]}")
    return runs


def compare(raw: FinishedRun, lightning: FinishedRun, traced: Sequence[Both]) -> ComparedRuns:
    """Compare two runs, given the traces of their recipe, the run that is shown first."""
    shown = traced[0]
    return ComparedRuns(raw, lightning, answers(list(traced)), moments(shown.raw, shown.lightning))


# For each row of the table of runs, a key of the words, and how a summary says it.
OUTCOMES: dict[str, Callable[[dict[str, Any]], str]] = {
    "weights_sha256": lambda s: s["weights_sha256"],
    "best_weights_sha256": lambda s: s["best_weights_sha256"],
    "test_accuracy": lambda s: f"{s['test_accuracy']:.2%}",
    "test_loss": lambda s: f"{s['test_loss']:.4f}",
    "val_accuracy": lambda s: f"{s['val_accuracy']:.2%}",
    "epochs_steps": lambda s: f"{s['epochs']}, {s['global_step']}",
    "device": lambda s: f"{s['device']} × {s['world_size']}, {s['precision']}",
    "dataset": lambda s: f"{s['dataset']}, {s['seed']}",
    "versions": lambda s: ", ".join(f"{k} {v}" for k, v in s["versions"].items()),
    "run_dir": lambda s: s["run_dir"],
}


def outcomes(c: ComparedRuns) -> list[tuple[str, str, str]]:
    """The rows of the table of runs: a key of the words, and what it is for the two runs."""
    return [(key, say(c.raw.summary), say(c.lightning.summary)) for key, say in OUTCOMES.items()]


def costs() -> list[tuple[str, int, int]]:
    """For each concern, the lines of code under its tag on both sides."""
    raw, lightning = concerns(RAW), concerns(LIGHTNING)
    return [(t, total(raw[t]), total(lightning.get(t, []))) for t in CONCERNS if t in raw]
