"""The proof is worth what it notices: each classic mistake, made on purpose in a copy of the raw
side, has to show as a difference."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fewer import few
from support.mistaken import made
from support.record import (
    Record,
    assert_equal_runs,
    at_batch,
    first_difference,
    points,
    record_fit,
)

from shared.config import Config
from shared.errors import Interrupted
from shared.mistakes.catalogue import mistakes
from shared.mistakes.edits import Edit, changed

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

# Mistakes of the catalogue that a comparison of two whole runs cannot see, and why.
ELSEWHERE = {
    "last weights tested instead of the best": "only where the last epoch is not the best; below",
    "saved without the optimizer's state": "only the next run would differ; see NOT_RESTORED",
}
CATALOGUE = {
    mistake.name: mistake.wrong
    for mistake in mistakes()
    # The others need a second process, or a change of the right run too.
    if mistake.side == "raw_pytorch" and not mistake.right and "devices" not in mistake.options
}
# Others that the proof has to notice.
MORE = {
    "shuffled from the global generator": [
        Edit(
            "train.py",
            "train_loader.start_at(state.epoch, state.batch_idx)",
            "train_loader.start_at(int(torch.randint(1000, ())), state.batch_idx)",
        )
    ],
    "no train() at all": [
        Edit("evaluate.py", "module.train()", "pass"),
        Edit("train.py", "module.train()", "pass"),
    ],
    "clipping before the window is full": [
        Edit("train.py", "bar.step(loss)", "torch.nn.utils.clip_grad_norm_(module.parameters(), 1)")
    ],
    "early stopping that never stops": [Edit("train.py", "and not early_stopping.should_stop", "")],
}
MISTAKES = {**{k: v for k, v in CATALOGUE.items() if k not in ELSEWHERE}, **MORE}
SOME = list(MISTAKES)[::4]


@pytest.fixture(autouse=True)
def parameters_keep_their_place() -> Iterator[None]:
    """One mistake has modules move to other parameters, as on a TPU."""
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


# Every feature at once, so that each mistake has something to spoil: 13 batches an epoch in windows
# of 3, and a patience that ends the run before its eight epochs are over.
EVERYTHING = dict(
    max_epochs=8, dropout=0.2, batch_size=25, precision="bf16-mixed", accumulate_grad_batches=3,
    gradient_clip_val=0.5, early_stopping_patience=1, lr=0.2, width=4,
)  # fmt: skip


def config(run_dir: Path, **options: Any) -> Config:
    return Config(run_dir=str(run_dir), accelerator="cpu", **{**EVERYTHING, **options})


@pytest.fixture(scope="module")
def lightning(tmp_path_factory) -> Record:
    return record_fit("lightning", config(tmp_path_factory.mktemp("lightning")))


def compare(raw: Record, lightning: Record) -> None:
    assert_equal_runs(raw, lightning)
    # The two validation batches of Lightning's sanity check come first.
    assert first_difference(raw.eval_losses, lightning.eval_losses[2:]) is None


def record_raw(
    run_dir: Path, *edits: Edit, expected: Record | None = None, **options: Any
) -> Record:
    """What the raw side does with these changes, up to where it differs from what is expected."""
    with made("raw_pytorch", changed("raw_pytorch", edits), run_dir.with_name("changed")):
        return record_fit("raw_pytorch", config(run_dir, **options), expected)


def test_without_a_mistake_there_is_no_difference(lightning, tmp_path):
    assert lightning.summary["epochs"] < EVERYTHING["max_epochs"], (
        "early stopping has nothing to do"
    )
    compare(record_raw(tmp_path / "run", expected=lightning), lightning)


@pytest.mark.parametrize("name", few(MISTAKES, SOME))
def test_a_mistake_is_noticed(name, lightning, tmp_path):
    with pytest.raises(AssertionError):
        compare(record_raw(tmp_path / "run", *MISTAKES[name], expected=lightning), lightning)


@pytest.mark.long
def test_testing_the_last_weights_instead_of_the_best_is_noticed(tmp_path):
    # Whatever is computed, no epoch after the first is the best one.
    best = 'is_best = state.is_best(state.validated["val/loss"]'
    rising = Edit("train.py", f"{best})", f"{best} + 1000 * state.epoch)")
    (mistake,) = CATALOGUE["last weights tested instead of the best"]
    options = dict(max_epochs=2, early_stopping_patience=None)
    right = record_raw(tmp_path / "right", rising, **options)
    assert right.summary["best_epoch"] == 0
    assert right.summary["weights_sha256"] != right.summary["best_weights_sha256"]
    wrong = record_raw(tmp_path / "wrong", rising, mistake, **options)
    assert first_difference(right.weights, wrong.weights) is None
    with pytest.raises(AssertionError):
        assert_equal_runs(wrong, right)


LOGGED = dict(max_epochs=2, log_every_n_steps=2, early_stopping_patience=None)
NOT_LOGGED = {
    "learning rate": 'logger.log_step({"lr": scheduler.get_last_lr()[0]}, state.global_step)',
    "loss of a step": "logger.log_step(scalars, state.global_step)",
    "validation": 'logger.log({**state.validated, "epoch": state.epoch}, state.global_step - 1)',
    "accuracy of an epoch": (
        'logger.log({"train/accuracy": train_accuracy, "epoch": state.epoch}, '
        "state.global_step - 1)"
    ),
    "test": 'logger.log({**tested, "epoch": state.epoch}, state.global_step)',
    "averages that begin anew": "module.train_accuracy.reset()",
}


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> dict[str, dict[int, float]]:
    run_dir = tmp_path_factory.mktemp("logged") / "run"
    record_fit("lightning", config(run_dir, **LOGGED))
    return points(run_dir)


def test_without_a_mistake_the_same_points_are_logged(logged, tmp_path):
    record_raw(tmp_path / "run", **LOGGED)
    assert points(tmp_path / "run") == logged


@pytest.mark.parametrize("name", few(NOT_LOGGED, ["validation"]))
def test_a_line_of_logging_that_is_left_out_is_noticed(name, logged, tmp_path):
    record_raw(tmp_path / "run", Edit("train.py", NOT_LOGGED[name], "pass"), **LOGGED)
    assert points(tmp_path / "run") != logged


@pytest.mark.long
def test_a_point_logged_one_step_too_late_is_noticed(logged, tmp_path):
    late = NOT_LOGGED["validation"].replace("global_step - 1", "global_step")
    record_raw(tmp_path / "run", Edit("train.py", NOT_LOGGED["validation"], late), **LOGGED)
    assert points(tmp_path / "run") != logged


PLACE = 'self.epoch, self.batch_idx = saved[DATA_STATE]["epoch"], '
# What is left out of restoring, and what is done in its place.
NOT_RESTORED = {
    "weights": ('self.module.load_state_dict(saved["state_dict"])', "pass"),
    "moments of the optimizer": (
        'self.optimizer.load_state_dict(saved["optimizer_states"][0])',
        "pass",
    ),
    "place in the schedule": (
        'self.scheduler.load_state_dict(saved["lr_schedulers"][0])',
        "pass",
    ),
    "counter of early stopping": (
        "lightning_format.restore_early_stopping(self.early_stopping, saved)",
        "pass",
    ),
    "place in the epoch": (f'{PLACE}saved[DATA_STATE]["batch_idx"]', f"{PLACE}0"),
    "average so far": (
        'lightning_format.restore_mean(self.module.train_accuracy, saved["train_accuracy"])',
        "pass",
    ),
    "generators": ('restore_generators(saved["generators"], self.data.device)', "pass"),
}
# Stops early, after the epoch in which it is interrupted.
INTERRUPTED = dict(
    max_epochs=12, dropout=0.3, lr=0.2, early_stopping_patience=2, accumulate_grad_batches=1,
    gradient_clip_val=None, precision="32-true", log_every_n_steps=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> tuple[Record, Path]:
    """A whole run, and the folder of one that was stopped in the last epoch of it."""
    folder = tmp_path_factory.mktemp("interrupted")
    whole = record_raw(folder / "whole", **INTERRUPTED)
    assert whole.summary["epochs"] < INTERRUPTED["max_epochs"] - 1
    batch = (whole.summary["epochs"] - 1) * 13 + 5

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with at_batch(batch, stop), pytest.raises(Interrupted):
        record_raw(folder / "run", **INTERRUPTED)
    return whole, (folder / "run").rename(folder / "stopped")


def resume(interrupted: tuple[Record, Path], *edits: Edit) -> None:
    """Go on with these changes, and compare with the whole run."""
    whole, stopped = interrupted
    # Where it was stopped: elsewhere, best.ckpt would be another run's.
    run_dir = stopped.with_name("run")
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(stopped, run_dir)
    after = record_raw(run_dir, *edits, ckpt_path="last", **INTERRUPTED)
    done = len(whole.weights) - len(after.weights)
    assert done > 0
    assert first_difference(after.train_losses, whole.train_losses[done:]) is None
    assert first_difference(after.learning_rates, whole.learning_rates[done:]) is None
    assert first_difference(after.weights, whole.weights[done:]) is None
    assert after.summary["epochs"] == whole.summary["epochs"]
    assert points(run_dir) == points(Path(whole.summary["run_dir"]))


def test_with_all_that_is_restored_a_run_goes_on_exactly(interrupted):
    resume(interrupted)


@pytest.mark.parametrize("name", few(NOT_RESTORED, ["moments of the optimizer", "generators"]))
def test_a_part_that_is_not_restored_is_noticed(name, interrupted):
    # A schedule that is stepped too often says so itself.
    with pytest.raises((AssertionError, ValueError)):
        resume(interrupted, Edit("training_state.py", *NOT_RESTORED[name]))
