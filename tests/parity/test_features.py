"""What a Trainer flag does, done by hand: combined with each other, and where there is no GPU."""

from __future__ import annotations

import importlib
import itertools
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fewer import few, fewer
from support.record import (
    SIDES,
    Record,
    assert_equal_runs,
    at_batch,
    first_difference,
    record_fit,
    recording,
)

from raw_pytorch import devices
from shared.config import Config
from shared.errors import Interrupted, UsageError

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

FEATURES: dict[str, tuple] = {
    "accumulate_grad_batches": (1, 3),
    "gradient_clip_val": (None, 0.5),
    "precision": ("32-true", "bf16-mixed"),
    "early_stopping_patience": (None, 1),
    "checkpoint_every_n_steps": (None, 4),
    "num_workers": (0, 1),
    "dropout": (0.0, 0.3),
    "batch_size": (25, 105),
    "lr": (0.01, 0.3),
}


def pairs(row: dict[str, Any]) -> set[tuple]:
    return set(itertools.combinations(row.items(), 2))


def covering_rows() -> list[dict[str, Any]]:
    """Rows in which every two values of every two features meet: greedy, from a fixed seed."""
    generator = random.Random(0)
    values = FEATURES.values()
    every = [dict(zip(FEATURES, row, strict=True)) for row in itertools.product(*values)]
    missing = set().union(*map(pairs, every))
    rows = []
    while missing:
        best = max(generator.sample(every, 60), key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        rows.append(best)
    return rows


ROWS = covering_rows()


def test_every_two_features_meet_in_the_grid():
    covered = set().union(*map(pairs, ROWS))
    for (a, these), (b, those) in itertools.combinations(FEATURES.items(), 2):
        for x, y in itertools.product(these, those):
            assert ((a, x), (b, y)) in covered


@pytest.mark.parametrize(
    "row",
    # Workers take seconds to start.
    few(ROWS, [row for row in ROWS if not row["num_workers"]][:2]),
    ids=lambda row: " ".join(map(str, row.values())),
)
def test_features_combined_are_equal_to_the_bit(row, tmp_path):
    raw, lightning = (
        record_fit(
            side,
            Config(**row, max_epochs=3, run_dir=str(tmp_path / side), accelerator="cpu", width=4),
        )
        for side in SIDES
    )
    assert_equal_runs(raw, lightning)


def run(side: str, folder: Path, **options: Any) -> Record:
    common = {"max_epochs": 1, "batch_size": 16, "accelerator": "cpu", "width": 4}
    return record_fit(side, Config(**{**common, "run_dir": str(folder / side), **options}))


@pytest.mark.parametrize("side", SIDES)
def test_fast_dev_run_writes_nothing_and_runs_one_batch_of_each_loop(side, tmp_path):
    record = run(side, tmp_path, fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []
    assert len(record.train_losses) == 1
    assert len(record.eval_losses) == 2  # validation and test


@pytest.mark.parametrize("side", SIDES)
def test_fast_dev_run_says_that_nothing_was_written(side, command, tmp_path):
    outcome = command(side, "train", "--fast_dev_run", "--accelerator", "cpu")
    assert outcome.status == 0
    assert "nothing written" in outcome.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", SIDES)
def test_accumulation_steps_once_per_window_and_at_the_end_of_the_epoch(side, tmp_path):
    record = run(side, tmp_path, accumulate_grad_batches=3)
    assert len(record.train_losses) == 20
    assert len(record.learning_rates) == 7
    assert record.summary["global_step"] == 7


@pytest.mark.parametrize("side", SIDES)
def test_clipping_changes_the_run_only_where_gradients_are_larger(side, tmp_path):
    free = run(side, tmp_path / "free")
    loose = run(side, tmp_path / "loose", gradient_clip_val=1e6)
    tight = run(side, tmp_path / "tight", gradient_clip_val=0.01)
    assert first_difference(free.weights, loose.weights) is None
    assert first_difference(free.gradients, tight.gradients).startswith("step 0")


@pytest.mark.parametrize("side", SIDES)
def test_early_stopping_ends_the_run_and_keeps_the_best(side, tmp_path):
    record = run(side, tmp_path, max_epochs=30, early_stopping_patience=2, lr=1.0)
    assert record.summary["epochs"] < 30
    assert record.summary["best_epoch"] == record.summary["epochs"] - 3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.skipif(torch.cuda.is_available(), reason="here 16-mixed has what it needs")
def test_16_mixed_without_a_gpu_is_refused_in_one_line(side, command, one_line, tmp_path):
    outcome = command(side, "train", "--precision", "16-mixed")
    assert outcome.status == 2
    one_line(outcome.err, "--precision", "16-mixed", "bf16-mixed")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def live_scaler(monkeypatch) -> dict[str, list[torch.amp.GradScaler]]:
    """16-mixed on the CPU, where both sides refuse it: float16, and a scaler that overflows first.

    So the order of scaling, unscaling, clipping and stepping, and what a skipped step does to the
    schedule, are tested without a GPU, too.
    """
    from pytorch_lightning.plugins.precision import MixedPrecision

    import lightning.train
    import raw_pytorch.train
    import shared.data

    def scaler(side: str) -> torch.amp.GradScaler:
        made[side].append(torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=5))
        return made[side][-1]

    made: dict[str, list[torch.amp.GradScaler]] = {side: [] for side in SIDES}
    real = raw_pytorch.train.Precision

    class Float16(real):
        def __init__(self, precision: str, device: torch.device) -> None:
            super().__init__("bf16-mixed", device)
            self.dtype, self.scaler = torch.float16, scaler("raw_pytorch")

    monkeypatch.setattr(raw_pytorch.train, "Precision", Float16)
    options = lightning.train.trainer_options

    def with_scaler(config: Config) -> dict[str, Any]:
        found = options(config)
        del found["precision"]
        precision = MixedPrecision("16-mixed", "cpu", scaler("lightning"))
        return {**found, "plugins": [*found["plugins"], precision]}

    monkeypatch.setattr(lightning.train, "trainer_options", with_scaler)
    # Float16 takes a CPU a hundred times as long: 160 images have to do.
    monkeypatch.setattr(shared.data, "load", fewer(shared.data.load, slice(160)))
    return made


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before.*optimizer.step")
@pytest.mark.parametrize("options", [{}, dict(gradient_clip_val=0.5, accumulate_grad_batches=3)])
def test_a_live_loss_scaler_skips_and_steps_alike(options, live_scaler, tmp_path):
    raw, lightning = (run(side, tmp_path, batch_size=8, **options) for side in SIDES)
    # A skipped step never reaches the optimizer, and so is in neither list.
    assert 0 < len(raw.weights) < raw.summary["global_step"]
    assert_equal_runs(raw, lightning)
    scales = [live_scaler[side][0].state_dict() for side in SIDES]
    assert scales[0] == scales[1]
    assert scales[0]["scale"] != 2.0**20


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before.*optimizer.step")
@pytest.mark.parametrize("side", SIDES)
def test_a_skipped_step_counts_and_moves_the_schedule_on_both_sides(side, live_scaler, tmp_path):
    """Lightning steps the schedule whether or not the scaler let the optimizer step; the raw side
    does the same. The schedule ends where it should, and loses the few skipped steps at its start.
    """
    record = run(side, tmp_path, batch_size=8)
    scheduler = record.checkpoint("last")["lr_schedulers"][0]
    assert record.summary["global_step"] == 20
    assert scheduler["last_epoch"] == 20
    assert len(record.learning_rates) < 20


@pytest.mark.parametrize("side", SIDES)
def test_the_scaler_survives_an_interruption(side, live_scaler, tmp_path):
    whole = run(side, tmp_path / "whole", batch_size=16)
    with at_batch(1, lambda: os.kill(os.getpid(), signal.SIGTERM)), pytest.raises(Interrupted):
        run(side, tmp_path / "parts", batch_size=16)
    resumed = run(side, tmp_path / "parts", batch_size=16, ckpt_path="last")
    assert (
        resumed.checkpoint("last")["MixedPrecision"] == whole.checkpoint("last")["MixedPrecision"]
    )
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    scales = [scaler.state_dict() for scaler in live_scaler[side]]
    assert scales[2] == scales[0]
    assert scales[1] != scales[0], "the interruption came when the scaler had nothing left to do"


@pytest.mark.parametrize("side", SIDES)
def test_a_finished_checkpoint_is_not_resumed_in_a_new_folder(side, tmp_path):
    record = run(side, tmp_path / "old")
    path = f"{record.summary['run_dir']}/checkpoints/last.ckpt"
    with pytest.raises(UsageError, match="has been trained to its end, for 1 epoch;"):
        run(side, tmp_path / "new", ckpt_path=path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("side", SIDES)
def test_fast_dev_run_tests_one_batch_of_a_checkpoint(side, tmp_path):
    record = run(side, tmp_path)
    here = Config(
        run_dir=record.summary["run_dir"], batch_size=16, accelerator="cpu", fast_dev_run=True
    )
    with recording() as tested:
        importlib.import_module(f"{side}.test").test(here)
    assert len(tested.eval_losses) == 1


def test_auto_takes_the_cpu_beside_an_accelerator_that_no_flag_names(monkeypatch):
    """As Lightning does, which is asked for the kinds that --accelerator knows."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("xpu"))
    assert devices.choose(Config()).type == "cpu"


def test_a_checkpoint_saved_before_training_starts_is_tested_alike(tmp_path, monkeypatch):
    from lightning.callbacks import SeedEpochs

    path = tmp_path / "first.ckpt"

    def save(self: SeedEpochs, trainer: Any, module: Any) -> None:
        trainer.save_checkpoint(path, weights_only=False)

    monkeypatch.setattr(SeedEpochs, "on_fit_start", save)
    run("lightning", tmp_path)
    here = Config(ckpt_path=str(path), accelerator="cpu")
    raw, lightning = (importlib.import_module(f"{side}.test").test(here)[1] for side in SIDES)
    assert raw["test/loss"] == lightning["test/loss"] > 2
