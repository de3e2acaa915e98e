"""The proof is worth what it notices: each classic mistake, made on purpose in a copy of the raw
side, has to show as a difference."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.record import (
    Record,
    assert_equal_runs,
    at_batch,
    first_difference,
    points,
    record_fit,
    recording,
)

import raw_pytorch
from shared.config import Config
from shared.errors import Interrupted

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

RAW = Path(raw_pytorch.__file__).parent

# The mistake, and for each file of the raw side the text that is replaced and what takes its place.
MISTAKES: dict[str, dict[str, list[tuple]]] = {
    "zero_grad forgotten": {"train.py": [("optimizer.zero_grad()", "pass")]},
    "schedule stepped once an epoch": {
        "train.py": [
            ("            scheduler.step()  # [schedule] once per optimizer step\n", ""),
            ("        # [validate] after every epoch\n", "        scheduler.step()\n"),
        ]
    },
    "schedule forgotten": {"train.py": [("scheduler.step()", "pass")]},
    "sampler without set_epoch": {"train.py": [("train_loader.sampler.set_epoch(epoch)", "pass")]},
    "shuffled from the global generator": {
        "train.py": [
            (
                "train_loader.sampler.set_epoch(epoch)",
                "train_loader.sampler.seed = int(torch.randint(1000, ()))",
            )
        ]
    },
    "dropout masks from the global generator": {
        "train.py": [("seed_epoch(config.seed, epoch, device)", "pass")]
    },
    "eval() forgotten": {"evaluate.py": [("module.eval()", "pass")]},
    "train() forgotten after validation": {
        "evaluate.py": [("module.train()", "pass")],
        "train.py": [("module.train()", "pass")],
    },
    "no_grad forgotten": {"evaluate.py": [("torch.no_grad()", "torch.enable_grad()")]},
    "seeded after the model": {
        "train.py": [
            ("    seed_everything(config.seed)  # [seed] before the weights are drawn\n", ""),
            ("    module.to(device)", "    seed_everything(config.seed)\n    module.to(device)"),
        ]
    },
    "mean over unequal batches": {"module.py": [(", weight=len(labels)", "", 2)]},
    "metrics not reset": {"evaluate.py": [("metric.reset()", "pass")]},
    "softmax before the loss": {
        "module.py": [("loss = F.cross_entropy(logits", "loss = F.cross_entropy(logits.softmax(1)")]
    },
    "loss summed over the batch": {
        "module.py": [
            (
                "loss = F.cross_entropy(logits, labels",
                'loss = F.cross_entropy(logits, labels, reduction="sum"',
            )
        ]
    },
    "gradients not divided in accumulation": {
        "train.py": [("loss / config.accumulate_grad_batches", "loss")]
    },
    "zero_grad for every batch of a window": {
        "train.py": [("if batch_idx % config.accumulate_grad_batches == 0:", "if True:")]
    },
    "last window left without a step": {
        "train.py": [("is_full = is_last or ", "is_full = ")]
    },
    "clipping forgotten": {
        "train.py": [("torch.nn.utils.clip_grad_norm_(module.parameters(), config", "(config")]
    },
    "clipping before the window is full": {
        "train.py": [
            (
                "            bar.step(loss)  # [progress] reads the loss only when it is drawn\n",
                "            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)\n",
            )
        ]
    },
    "forward outside autocast": {
        "train.py": [("with precision.autocast():", "if True:")]
    },
    "validation outside autocast": {"evaluate.py": [(", precision.autocast()", "")]},
    "early stopping that never stops": {
        "train.py": [(" and not early_stopping.should_stop", "")]
    },
    "early stopping one epoch late": {
        "early_stopping.py": [("wait_count >= self.patience", "wait_count > self.patience")]
    },
}  # fmt: skip


@contextlib.contextmanager
def made(mistake: dict[str, list[tuple]]) -> Iterator[None]:
    """Put changed copies of raw side files in the place of the real ones.

    Raises:
        AssertionError: the text to replace is not there (as often as it should be), so that a test
            cannot go on passing after the code under it has moved on.
    """
    before = {name: sys.modules.get(f"raw_pytorch.{name[:-3]}") for name in mistake}
    # The files that import a changed one have to be read anew, too.
    readers = [name for name in ("evaluate.py", "train.py") if name not in mistake]
    before.update({name: sys.modules.get(f"raw_pytorch.{name[:-3]}") for name in readers})
    try:
        for name in sorted([*mistake, *readers], key="train.py".__eq__):
            source = (RAW / name).read_text()
            for old, new, *times in mistake.get(name, []):
                assert source.count(old) == (times[0] if times else 1), (name, old)
                source = source.replace(old, new)
            full_name = f"raw_pytorch.{name[:-3]}"
            module = importlib.util.module_from_spec(importlib.util.find_spec(full_name))
            sys.modules[full_name] = module
            setattr(raw_pytorch, name[:-3], module)
            # The source of this repository, with a mistake made in it.
            exec(compile(source, str(RAW / name), "exec"), module.__dict__)  # noqa: S102
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(f"raw_pytorch.{name[:-3]}", None)
            if module is not None:
                sys.modules[f"raw_pytorch.{name[:-3]}"] = module
                setattr(raw_pytorch, name[:-3], module)


# Every feature at once, so that each mistake has something to spoil: 13 batches an epoch in windows
# of 3, and a patience that ends the run before its eight epochs are over.
EVERYTHING = dict(
    max_epochs=8, dropout=0.2, batch_size=25, precision="bf16-mixed", accumulate_grad_batches=3,
    gradient_clip_val=0.5, early_stopping_patience=1, lr=0.2,
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


def record_raw(run_dir: Path, **options: Any) -> Record:
    with recording() as record:
        record.summary = importlib.import_module("raw_pytorch.train").fit(
            config(run_dir, **options)
        )
    return record


def test_without_a_mistake_there_is_no_difference(lightning, tmp_path):
    assert lightning.summary["epochs"] < EVERYTHING["max_epochs"], (
        "early stopping has nothing to do"
    )
    with made({"evaluate.py": [], "module.py": [], "train.py": []}):
        compare(record_raw(tmp_path), lightning)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name, lightning, tmp_path):
    with made(MISTAKES[name]):
        raw = record_raw(tmp_path)
    with pytest.raises(AssertionError):
        compare(raw, lightning)


def test_testing_the_last_weights_instead_of_the_best_is_noticed(tmp_path):
    mistake = {
        "train.py": [("checkpoints.read_checkpoint(best)", "checkpoints.read_checkpoint(last)")]
    }
    for seed in range(10):
        options = dict(max_epochs=4, seed=seed, lr=0.01, dropout=0, precision="32-true")
        options.update(accumulate_grad_batches=1, early_stopping_patience=None)
        options.update(gradient_clip_val=None)
        right = record_raw(tmp_path / f"right{seed}", **options)
        # In most runs some epoch before the last is the best; only there the mistake can be seen.
        if right.summary["best_epoch"] < 3:
            break
    with made(mistake):
        wrong = record_raw(tmp_path / "wrong", **options)
    assert first_difference(right.weights, wrong.weights) is None
    with pytest.raises(AssertionError):
        assert_equal_runs(wrong, right)


LOGGED = dict(max_epochs=2, log_every_n_steps=2, early_stopping_patience=None)
NOT_LOGGED = {
    "learning rate": 'logger.log_step({"lr": scheduler.get_last_lr()[0]}, global_step)',
    "loss of a step": 'logger.log_step({"train/loss": loss, "epoch": epoch}, global_step)',
    "validation": 'logger.log({**validated, "epoch": epoch}, global_step - 1)',
    "accuracy of an epoch": """logger.log(
            {"train/accuracy": train_accuracy, "epoch": epoch}, global_step - 1
        )""",
    "test": 'logger.log({**tested, "epoch": epoch}, global_step)',
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


@pytest.mark.parametrize("name", NOT_LOGGED)
def test_a_line_of_logging_that_is_left_out_is_noticed(name, logged, tmp_path):
    line = NOT_LOGGED[name].replace("\n            ", "").replace("\n        ", "")
    with made({"train.py": [(line, "pass")]}):
        record_raw(tmp_path / "run", **LOGGED)
    assert points(tmp_path / "run") != logged


def test_a_point_logged_one_step_too_late_is_noticed(logged, tmp_path):
    line = 'logger.log({**validated, "epoch": epoch}, global_step'
    with made({"train.py": [(line + " - 1)", line + ")")]}):
        record_raw(tmp_path / "run", **LOGGED)
    assert points(tmp_path / "run") != logged


NOT_RESTORED = {
    "weights": 'parts["module"].load_state_dict(saved["state_dict"])',
    "moments of the optimizer": 'parts["optimizer"].load_state_dict(saved["optimizer_states"][0])',
    "place in the schedule": 'parts["scheduler"].load_state_dict(saved["lr_schedulers"][0])',
    "counter of early stopping": (
        'parts["early_stopping"].load_state_dict(saved["callbacks"][STOPPING_KEY])'
    ),
    "place in the epoch": 'parts["data"].train_loader.load_state_dict(saved[DATA_STATE])',
    "average so far": 'restore_metric(parts["module"].train_accuracy, saved["train_accuracy"])',
    "generators": 'restore_generators(saved["generators"], device)',
}
# Stops early, after the epoch in which it is interrupted.
INTERRUPTED = dict(
    max_epochs=12, dropout=0.3, lr=0.1, early_stopping_patience=2, accumulate_grad_batches=1,
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


def resumed(interrupted: tuple[Record, Path]) -> None:
    whole, stopped = interrupted
    # Where it was stopped: elsewhere, best.ckpt would be another run's.
    run_dir = stopped.with_name("run")
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(stopped, run_dir)
    after = record_raw(run_dir, ckpt_path="last", **INTERRUPTED)
    done = len(whole.weights) - len(after.weights)
    assert done > 0
    assert first_difference(after.train_losses, whole.train_losses[done:]) is None
    assert first_difference(after.learning_rates, whole.learning_rates[done:]) is None
    assert first_difference(after.weights, whole.weights[done:]) is None
    assert after.summary["epochs"] == whole.summary["epochs"]
    assert points(run_dir) == points(Path(whole.summary["run_dir"]))


def test_with_all_that_is_restored_a_run_goes_on_exactly(interrupted):
    with made({"checkpoint.py": []}):
        resumed(interrupted)


@pytest.mark.parametrize("name", NOT_RESTORED)
def test_a_part_that_is_not_restored_is_noticed(name, interrupted):
    with (
        made({"checkpoint.py": [(NOT_RESTORED[name], "pass")]}),
        # A schedule that is stepped too often says so itself.
        pytest.raises((AssertionError, ValueError)),
    ):
        resumed(interrupted)
