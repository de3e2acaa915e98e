"""A run that is killed, at whatever moment, leaves whole files and is resumed to the same end."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fewer import few
from support.killed import PLACES, Ended, Moment, ended, start
from support.record import SIDES, points

from shared.checkpoints import read_checkpoint
from shared.config import Config

SEED = int(os.environ.get("CHAOS_SEED", 0))
SAME = "weights_sha256 best_weights_sha256 best_epoch global_step test_loss val_loss".split()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Of each side: how often it comes by each place, the files it writes elsewhere, its summary
    and its points."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}
    runs = {side: start(side, folder / side) for side in SIDES}
    for side, run in runs.items():
        assert ended(run).status == 0, ended(run).text
        found[side] = json.loads(Path(run.log).with_suffix(".json").read_text())
        found[side]["summary"] = json.loads((folder / side / "summary.json").read_text())
        found[side]["points"] = points(folder / side)
    return found


def whole_records(path: Path) -> int:
    """How many whole records an event file starts with: length, sum, content, sum."""
    data, place, count = path.read_bytes(), 0, 0
    while place + 12 <= len(data):
        (length,) = struct.unpack("<Q", data[place : place + 8])
        place += 12 + length + 4
        count += place <= len(data)
    return count


def assert_whole(run_dir: Path, expected: dict[str, dict[int, float]]) -> list[str]:
    """All that is there can be read, and nothing else is there but the names of parts that were
    being written, which are given back."""
    parts = []
    for path in [path for path in run_dir.rglob("*") if path.is_file()]:
        if path.name.startswith("."):
            parts.append(path.name)
        elif path.suffix == ".ckpt":
            read_checkpoint(path)
        elif path.name == "summary.json":
            assert json.loads(path.read_text())["weights_sha256"]
        elif path.name == "config.yaml":
            assert Config(**yaml.safe_load(path.read_text())).run_dir == str(run_dir)
        elif path.name == "hparams.yaml":  # Lightning's own, which nobody reads
            yaml.safe_load(path.read_text())
        else:
            assert path.name.startswith("events.out.tfevents"), path
            assert whole_records(path) > 0 or path.stat().st_size < 100
    # What TensorBoard shows is part of what the undisturbed run shows.
    for tag, values in points(run_dir).items() if run_dir.exists() else ():
        for step, value in values.items():
            assert expected[tag][step] == value, (tag, step)
    return parts


def drawn(key: str, places: tuple[str, ...] = PLACES) -> tuple[str, float]:
    """A place, and how far into the run."""
    generator = random.Random(f"{SEED} {key}")
    return generator.choice(places), generator.random()


def disturb(
    side: str, place: str, far: float, number: signal.Signals, undisturbed, run_dir
) -> Ended:
    """Start a run, end it there, look at what it left, and resume. Returns how the first ended."""
    expected = undisturbed[side]
    moment = Moment(place, int(far * expected["counts"][place]), number)
    first = ended(start(side, run_dir, moment))
    assert_whole(run_dir, expected["points"])
    had_checkpoint = (run_dir / "checkpoints" / "last.ckpt").exists()
    second = ended(start(side, run_dir, None, "--ckpt_path", "last"))
    if had_checkpoint:
        assert second.status == 0, second.text
        assert assert_whole(run_dir, expected["points"]) == []
        summary = json.loads((run_dir / "summary.json").read_text())
        for name in SAME:
            assert summary[name] == expected["summary"][name], name
    else:
        assert second.status == 2
        assert second.text.startswith("error: --run_dir: ")
        assert "holds no checkpoints/last.ckpt" in second.text
        assert second.text.count("\n") == 1
    return first


def killed(side, place, far, undisturbed, run_dir, fault) -> None:
    first = disturb(side, place, far, signal.SIGKILL, undisturbed, run_dir)
    assert first.status in (-signal.SIGKILL, -signal.SIGXFSZ), first.text
    fault.sees("--ckpt_path last resumes from the last checkpoint, to the weights of a whole run")


# The long draw has all places.
SHORT = [(place, drawn(place)[1]) for place in ("step", "checkpoint", "event", "summary")]
LONG = [drawn(f"kill {number}") for number in range(100)]


@pytest.mark.fault("SIGKILL in a step, in validation, and while a file is written")
@pytest.mark.parametrize(("place", "far"), few(SHORT, SHORT[1:2]))
def test_a_killed_run_leaves_whole_files_and_is_resumed(
    side, place, far, undisturbed, tmp_path, fault
):
    killed(side, place, far, undisturbed, tmp_path / "run", fault)


@pytest.mark.chaos
@pytest.mark.fault("SIGKILL in a step, in validation, and while a file is written")
@pytest.mark.parametrize(("place", "far"), LONG)
def test_a_run_killed_at_any_of_100_moments_does_too(
    side, place, far, undisturbed, tmp_path, fault
):
    killed(side, place, far, undisturbed, tmp_path / "run", fault)


def interrupted(side, place, far, number, undisturbed, run_dir, fault) -> None:
    first = disturb(side, place, far, number, undisturbed, run_dir)
    # Before the loop begins there is nothing to save, and a signal ends a process as ever.
    assert first.status == 130 or (first.status == -number and far < 0.2), first
    assert "Traceback" not in first.text
    lines = [line for line in first.text.splitlines() if line.startswith("error: ")]
    assert len(lines) == (first.status == 130)
    if "; to resume" in first.text:
        fault.sees(lines[0])


# Not those places at which a process ends within the kernel.
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
SIGNALLED = ("step", "validation", "file")
SIGNALS = list(zip(("step", "validation", "step", "validation"), NUMBERS, strict=True))
LONG_SIGNALS = [(*drawn(f"{n} {i}", SIGNALLED), n) for n in NUMBERS for i in range(15)]


@pytest.mark.fault("a signal to end in a step, in validation, and while a file is written")
@pytest.mark.parametrize(("place", "number"), few(SIGNALS, SIGNALS[1:2]))
def test_a_run_that_gets_a_signal_does_too(side, place, number, undisturbed, tmp_path, fault):
    far = drawn(f"signal {place}")[1]
    interrupted(side, place, far, number, undisturbed, tmp_path / "run", fault)


@pytest.mark.chaos
@pytest.mark.fault("a signal to end in a step, in validation, and while a file is written")
@pytest.mark.parametrize(("place", "far", "number"), LONG_SIGNALS)
def test_a_run_that_gets_a_signal_at_any_of_60_moments_does_too(
    side, place, far, number, undisturbed, tmp_path, fault
):
    interrupted(side, place, far, number, undisturbed, tmp_path / "run", fault)


def test_a_run_writes_below_its_folder_only(side, undisturbed):
    """Moved from a folder on another disk, a file is copied, and may be killed halfway."""
    assert undisturbed[side]["counts"]["file"] > 20, "its own files were not counted"
    assert undisturbed[side]["elsewhere"] == []


def test_parts_that_a_killed_run_left_do_not_pile_up(side, undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    assert ended(start(side, run_dir, Moment("checkpoint", 3))).status == -signal.SIGXFSZ
    others = run_dir / "checkpoints" / ".last.ckpt-notes.txt", run_dir / ".config.yaml"
    for other in others:
        other.write_text("somebody's own")
    left = [path for path in run_dir.rglob(".*") if path not in others]
    assert len(left) == 1, left
    assert ended(start(side, run_dir, None, "--ckpt_path", "last")).status == 0
    assert set(run_dir.rglob(".*")) == set(others)
