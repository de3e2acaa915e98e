"""The two lower rungs: the same program twice, on one screen, and as a whole chapter."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.record import SIDES, Record, assert_equal_steps, points, recording


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rungs")


@pytest.fixture(scope="module")
def basic(folder: Path) -> dict[str, tuple[Record, Path]]:
    """What both programs of the middle rung computed, and where they wrote it."""
    return {side: ran(f"{side}.basic", folder) for side in SIDES}


def ran(program: str, folder: Path) -> tuple[Record, Path]:
    with pytest.MonkeyPatch.context() as patch, recording() as record:
        patch.chdir(folder)
        runpy.run_module(program, run_name="__main__")
    written = folder / "runs" / "basic" / program.split(".")[0]
    return record, next(written.iterdir()) if written.exists() else written


def test_both_minimal_programs_compute_the_same_steps_and_say_the_same(tmp_path, capsys):
    records, lines = [], []
    for side in SIDES:
        records.append(ran(f"{side}.minimal", tmp_path)[0])
        lines.append(capsys.readouterr().out.splitlines()[-1])
    assert_equal_steps(*records)
    assert lines[0] == lines[1]
    assert lines[0].startswith("test accuracy ")


def test_both_basic_programs_compute_the_same_steps(basic):
    raw, lightning = (record for record, _ in basic.values())
    assert len(raw.weights) == 5 * 20
    assert_equal_steps(raw, lightning)


def test_both_basic_programs_keep_the_same_best_weights(basic):
    raw = torch.load(basic["raw_pytorch"][1] / "best.pt", weights_only=True)
    (path,) = (basic["lightning"][1] / "checkpoints").iterdir()
    lightning: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    assert raw.keys() == lightning.keys()
    assert all(torch.equal(raw[name], lightning[name]) for name in raw)
    assert len(raw) == 20


def test_both_basic_programs_log_the_same_points(basic):
    raw, lightning = (points(written) for _, written in basic.values())
    del lightning["epoch"]  # Lightning's own
    names = {
        f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "accuracy")
    }
    assert raw.keys() == names
    assert raw == lightning
    assert [len(raw[name]) for name in ("train/loss", "val/accuracy", "test/loss")] == [5, 5, 1]
