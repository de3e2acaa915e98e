"""The gallery of mistakes: each made in a copy of one side, trained on the digits with and without
it, and looked at by the divergence tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

from shared.divergence.command import Command, record
from shared.divergence.comparing.differences import compare
from shared.divergence.records import Run
from shared.divergence.report import report
from shared.errors import RunError
from shared.mistakes.catalogue import Mistake
from shared.mistakes.edits import Edit, changed
from shared.processes import ROOT, as_torchrun, last_line
from shared.reporting.words import Text

# Ten steps an epoch, the last batch of training and of validation smaller than the others.
OPTIONS: dict[str, Any] = {"batch_size": 128, "max_epochs": 6, "accelerator": "cpu"}


class Named(TypedDict):
    """What the divergence tool names, and at which optimizer step."""

    cause: str
    step: int


class Outcome(TypedDict):
    """What a reader sees of a run: its last numbers, and its curves by tag."""

    val_accuracy: float
    test_accuracy: float
    val_loss: float
    test_loss: float
    curves: dict[str, list[float]]


class Exhibit(TypedDict):
    """A mistake that was made: the changes of code, the run without it (`right`) and the run with
    it (`wrong`), and what the divergence tool said."""

    mistake: str
    side: str
    verdict: str
    lightning: Text
    options: dict[str, Any]
    edits: list[dict[str, str]]
    right: Outcome
    wrong: Outcome
    expected: Named
    found: Named | None
    instrument: str


# A recorded run, its summary, and the folder of its programs.
Trained = tuple[Run, dict[str, Any], Path]
# Starts a process, as `subprocess.Popen` does.
Start = Callable[..., Any]


def right_key(mistake: Mistake) -> str:
    """What the run without a mistake depends on; several mistakes have the same."""
    return json.dumps([mistake.side, mistake.options, [vars(edit) for edit in mistake.right]])


def right_run(mistake: Mistake, folder: Path, start: Start = subprocess.Popen) -> Trained:
    """The run without the mistake.

    Raises:
        RunError: the program failed.
    """
    return train_changed(mistake, [mistake.right], Path(tempfile.mkdtemp(dir=folder)), start)


def exhibit(
    mistake: Mistake, folder: Path, right_run: Trained, start: Start = subprocess.Popen
) -> Exhibit:
    """Make a mistake, and look at what comes of it.

    Raises:
        RunError: the program failed.
    """
    right, right_summary, right_place = right_run
    place = Path(tempfile.mkdtemp(dir=folder))
    wrong, wrong_summary, _ = train_changed(mistake, [mistake.right, mistake.wrong], place, start)
    found = compare(wrong, right).finding
    lines, _ = report(wrong, right, ("finished", "finished"))
    return {
        "mistake": mistake.name,
        "side": mistake.side,
        "verdict": mistake.verdict,
        "lightning": mistake.lightning,
        "options": mistake.options,
        "edits": [
            {"file": f"{mistake.side}/{edit.file}", "before": edit.code, "after": edit.becomes}
            for edit in mistake.wrong
        ],
        "right": outcome(right, right_summary),
        "wrong": outcome(wrong, wrong_summary),
        "expected": {"cause": mistake.cause, "step": mistake.step},
        "found": {"cause": found.cause, "step": found.step} if found else None,
        "instrument": _without_folders("\n".join(lines), place, right_place),
    }


def _without_folders(text: str, *folders: Path) -> str:
    """What the tool said, with paths as in the repository."""
    for folder in folders:
        for name in (str(folder), os.path.relpath(folder)):
            text = text.replace(f"{name}/", "")
    return text


def train_changed(
    mistake: Mistake, edits: Sequence[Sequence[Edit]], folder: Path, start: Start
) -> Trained:
    """Train a changed copy of the programs with the divergence tool's recorder looking on.

    Raises:
        RunError: the program failed.
    """
    for name in ("raw_pytorch", "lightning", "shared"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in changed(mistake.side, *edits).items():
        (folder / mistake.side / name).write_text(source)
    options = {**OPTIONS, **mistake.options, "run_dir": "run"}
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    program = ["-m", mistake.side, "train", *flags, "--progress_bar", "false"]
    path = folder / "record.jsonl"
    processes = options.get("devices", 1)
    places = as_torchrun(processes) if processes > 1 else [{}]

    def run(rank: int) -> tuple[Run, str]:
        command = Command(["python"], program, tuple(places[rank].items()))
        own = path if rank == 0 else path.with_name(f"others-{rank}.jsonl")
        return record(command, own, 10**6, 300, folder, start)

    with ThreadPoolExecutor(len(places)) as together:
        recorded, how = next(together.map(run, range(len(places))))
    if how != "finished":
        log = path.with_suffix(".log").read_text()
        errors = [line for line in log.splitlines() if line.startswith("error: ")]
        said = errors[0] if errors else last_line(log)
        raise RunError(f"{mistake.name}: the program {how}: {said}")
    return recorded, json.loads((folder / "run" / "summary.json").read_text()), folder


def outcome(recorded: Run, summary: dict[str, Any]) -> Outcome:
    """The last numbers of a run, the loss of every training step, and what it reported after each
    epoch."""
    losses = [
        loss["values"][0]
        for step in recorded.steps
        if step.backwards and (loss := step.backwards[-1]["loss"])
    ]
    curves: dict[str, list[float]] = {"train/loss": losses}
    for events in recorded.numbers.values():
        for event in events:
            if event["tag"] in ("val/loss", "val/accuracy", "val/f1"):
                curves.setdefault(event["tag"], []).append(event["value"])
    return {
        "val_accuracy": summary["val_accuracy"],
        "test_accuracy": summary["test_accuracy"],
        "val_loss": summary["val_loss"],
        "test_loss": summary["test_loss"],
        "curves": curves,
    }
