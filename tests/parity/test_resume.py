"""A run that is stopped, wherever, and resumed, by either side, ends as the run that never was."""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from support.fewer import few
from support.record import SIDES, at_batch, first_difference, points, record_fit, recording

from shared.checkpoints import read_checkpoint
from shared.config import Config
from shared.errors import Interrupted, UsageError

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

EPOCHS, BATCHES = 3, 13
CASES: dict[str, dict[str, Any]] = {
    "plain": dict(dropout=0.3),
    "workers": dict(dropout=0.3, num_workers=2),
    "everything": dict(
        dropout=0.3, accumulate_grad_batches=3, gradient_clip_val=0.5, precision="bf16-mixed",
        early_stopping_patience=2, lr=0.05,
    ),
}  # fmt: skip


def config(run_dir: Path, case: str, **options: Any) -> Config:
    common = dict(max_epochs=EPOCHS, batch_size=25, width=4)
    common |= dict(accelerator="cpu", log_every_n_steps=1)
    return Config(run_dir=str(run_dir), **{**common, **CASES[case], **options})


class Killed(BaseException):
    """Stands in for SIGKILL within a test's own process: nobody catches it, nobody tidies up."""


def send(number: signal.Signals) -> Any:
    return lambda: os.kill(os.getpid(), number)


def kill() -> None:
    raise Killed


def drawn(key: str, count: int) -> list[int]:
    """Batches drawn from a seed, and always one at which an epoch ends."""
    generator = random.Random(key)
    return [generator.randrange(EPOCHS * BATCHES - 1) for _ in range(count)] + [BATCHES - 1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, Any]:
    return {
        case: record_fit("raw_pytorch", config(tmp_path_factory.mktemp("u") / case, case))
        for case in CASES
    }


RESUMED = [
    (case, place, writer, resumer, batch)
    for case in CASES
    for writer in SIDES
    for resumer in SIDES
    for place, batch in zip(("within", "end"), drawn(f"{case}{writer}{resumer}", 1), strict=True)
    # Workers take seconds to start, and are the same ones on both sides.
    if case != "workers" or writer != resumer
]


# Every case, every pair of sides and both places; not each with each.
AT_ONCE = [
    case
    for case in RESUMED
    if case[:4] in {
        ("plain", "within", "raw_pytorch", "lightning"),
        ("plain", "end", "lightning", "raw_pytorch"),
        ("workers", "within", "raw_pytorch", "lightning"),
        ("everything", "within", "raw_pytorch", "raw_pytorch"),
        ("everything", "end", "lightning", "lightning"),
    }
]  # fmt: skip


@pytest.mark.parametrize(("case", "place", "writer", "resumer", "batch"), few(RESUMED, AT_ONCE))
def test_an_interrupted_run_resumes_to_the_same_end(
    case, place, writer, resumer, batch, undisturbed, tmp_path
):
    run_dir = tmp_path / "run"
    number = random.Random(batch).choice([signal.SIGINT, signal.SIGTERM])
    with recording() as before, at_batch(batch, send(number)), pytest.raises(Interrupted):
        importlib.import_module(f"{writer}.train").train(config(run_dir, case))
    assert not (run_dir / "summary.json").exists()

    after = record_fit(resumer, config(run_dir, case, ckpt_path="last"))
    expected = undisturbed[case]
    # None repeated, none missed: the losses before and after are those of the whole run.
    losses = before.train_losses + after.train_losses
    assert first_difference(losses, expected.train_losses) is None
    rates = before.learning_rates + after.learning_rates
    assert first_difference(rates, expected.learning_rates) is None
    for name in ("weights_sha256", "best_weights_sha256", "best_epoch", "global_step", "epochs"):
        assert after.summary[name] == expected.summary[name], name
    for name in ("val_loss", "val_accuracy", "test_loss", "test_accuracy"):
        assert after.summary[name] == expected.summary[name], name
    assert points(run_dir) == points(Path(expected.summary["run_dir"]))


KILLED = [(side, batch) for side in SIDES for batch in drawn(f"kill {side}", 2)]


@pytest.mark.parametrize(("side", "batch"), few(KILLED, KILLED[::3]))
def test_a_killed_run_resumes_from_its_last_checkpoint(side, batch, undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    every = dict(checkpoint_every_n_steps=2)
    with at_batch(batch, kill), pytest.raises(Killed):
        importlib.import_module(f"{side}.train").train(config(run_dir, "plain", **every))
    again = config(run_dir, "plain", **every)
    if not (run_dir / "checkpoints" / "last.ckpt").exists():
        assert batch < 3, "there has to be a checkpoint after two steps"
        with pytest.raises(UsageError, match=r"holds no checkpoints/last\.ckpt"):
            record_fit(side, config(run_dir, "plain", **every, ckpt_path="last"))
        return
    done = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"]
    # Every second step of an epoch, and its end.
    epoch, place = divmod(batch, BATCHES)
    assert done >= epoch * BATCHES + max(0, place - 2)
    after = record_fit(side, config(run_dir, "plain", **every, ckpt_path="last"))
    assert again.run_dir == after.summary["run_dir"]
    expected = undisturbed["plain"]
    assert len(after.train_losses) == EPOCHS * BATCHES - done
    assert first_difference(after.train_losses, expected.train_losses[done:]) is None
    for name in ("weights_sha256", "best_weights_sha256"):
        assert after.summary[name] == expected.summary[name]


@pytest.mark.parametrize(("writer", "resumer"), [SIDES, SIDES[::-1]])
def test_a_run_stopped_before_its_test_is_only_tested(writer, resumer, undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    importlib.import_module(f"{writer}.train").train(config(run_dir, "plain"))
    (run_dir / "summary.json").unlink()
    after = record_fit(resumer, config(run_dir, "plain", ckpt_path="last"))
    assert after.train_losses == []
    expected = undisturbed["plain"].summary
    for name in ("weights_sha256", "best_weights_sha256", "test_loss", "val_loss", "epochs"):
        assert after.summary[name] == expected[name], name


@pytest.mark.parametrize("side", SIDES)
def test_a_checkpoint_file_resumes_in_a_new_folder_and_keeps_the_old_one(
    side, undisturbed, tmp_path
):
    with at_batch(20, send(signal.SIGTERM)), pytest.raises(Interrupted):
        importlib.import_module(f"{side}.train").train(config(tmp_path / "old", "plain"))
    path = tmp_path / "old" / "checkpoints" / "last.ckpt"
    before = path.read_bytes()
    after = record_fit(side, config(tmp_path / "new", "plain", ckpt_path=str(path)))
    assert path.read_bytes() == before
    assert after.summary["run_dir"] == str(tmp_path / "new")
    assert after.summary["weights_sha256"] == undisturbed["plain"].summary["weights_sha256"]


@pytest.mark.parametrize("side", SIDES)
def test_the_last_line_says_how_to_resume_and_the_command_does(
    side, undisturbed, tmp_path, command
):
    run_dir = tmp_path / "a run"
    with at_batch(7, send(signal.SIGTERM)), pytest.raises(Interrupted) as stopped:
        importlib.import_module(f"{side}.train").train(config(run_dir, "plain"))
    import shlex

    words = shlex.split(str(stopped.value).split("to resume: ")[1])
    assert words[:3] == [sys.executable, "-m", side]
    outcome = command(side, *words[3:])
    assert outcome.status == 0, outcome.err
    assert undisturbed["plain"].summary["weights_sha256"] in outcome.out


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_status_130_and_one_line(
    side, number, tmp_path, command, one_line
):
    with at_batch(5, send(number)):
        outcome = command(
            side,
            "train",
            "--run_dir",
            tmp_path / "run",
            "--max_epochs",
            1,
            "--batch_size",
            25,
            "--width",
            4,
            "--accelerator",
            "cpu",
        )
    assert outcome.status == 130
    one_line(outcome.err, number.name, "--ckpt_path last")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["train", "test", "predict"])
@pytest.mark.parametrize("side", SIDES)
def test_a_signal_while_a_program_starts_ends_it_with_one_line(
    side, program, number, command, one_line, monkeypatch
):
    monkeypatch.setattr("jsonargparse.ArgumentParser.parse_args", lambda *_: send(number)())
    outcome = command(side, program)
    assert outcome.status == 130
    one_line(outcome.err, f"interrupted by {number.name}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("side", SIDES)
def test_a_signal_before_there_is_a_run_folder_ends_the_run_with_one_line(
    side, number, command, one_line, monkeypatch, tmp_path
):
    monkeypatch.setattr(f"{side}.train.create_run_dir", lambda *_: send(number)())
    outcome = command(side, "train", "--accelerator", "cpu")
    assert outcome.status == 130
    one_line(outcome.err, f"interrupted by {number.name}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", SIDES)
def test_a_second_signal_ends_the_run_at_once(side, tmp_path):
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with recording() as record, at_batch(3, twice), pytest.raises(Interrupted):
        importlib.import_module(f"{side}.train").train(config(tmp_path / "run", "plain"))
    assert len(record.train_losses) == 3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "change",
    [
        dict(seed=1), dict(batch_size=24), dict(lr=0.1), dict(dropout=0.1), dict(max_epochs=9),
        dict(early_stopping_patience=3), dict(precision="bf16-mixed"), dict(gradient_clip_val=1.0),
    ],
)  # fmt: skip
def test_another_recipe_is_refused_by_name(side, change, undisturbed, tmp_path):
    run_dir = undisturbed["plain"].summary["run_dir"]
    path = Path(run_dir) / "checkpoints" / "last.ckpt"
    options = {**CASES["plain"], "max_epochs": EPOCHS, "batch_size": 25, "width": 4, **change}
    with pytest.raises(UsageError, match=f"--{next(iter(change))}: got "):
        record_fit(side, Config(ckpt_path=str(path), run_dir=str(tmp_path / "new"), **options))
    assert not (tmp_path / "new").exists()


STOPPING = dict(max_epochs=12, lr=0.2, early_stopping_patience=2)


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory) -> Any:
    run_dir = tmp_path_factory.mktemp("early") / "run"
    record = record_fit("raw_pytorch", config(run_dir, "plain", **STOPPING))
    assert record.summary["epochs"] < STOPPING["max_epochs"] - 1, "it has to stop early"
    return record


@pytest.mark.parametrize(("writer", "resumer"), [SIDES, SIDES[::-1]])
def test_the_counter_of_early_stopping_survives(writer, resumer, stopped_early, tmp_path):
    """Of two bad epochs, one lies before the interruption; from zero, the run would go on."""
    run_dir, expected = tmp_path / "run", stopped_early.summary
    in_the_last_epoch = (expected["epochs"] - 1) * BATCHES + 5
    with at_batch(in_the_last_epoch, send(signal.SIGTERM)), pytest.raises(Interrupted):
        importlib.import_module(f"{writer}.train").train(config(run_dir, "plain", **STOPPING))
    after = record_fit(resumer, config(run_dir, "plain", ckpt_path="last", **STOPPING))
    for name in ("epochs", "weights_sha256", "best_weights_sha256"):
        assert after.summary[name] == expected[name], name


@pytest.mark.parametrize("side", SIDES)
def test_resuming_without_checkpoints_within_epochs_says_nothing(side, tmp_path):
    options = dict(max_epochs=2, checkpoint_every_n_steps=5)
    with at_batch(BATCHES - 2, send(signal.SIGTERM)), pytest.raises(Interrupted):
        importlib.import_module(f"{side}.train").train(config(tmp_path, "plain", **options))
    options = dict(max_epochs=2, ckpt_path="last")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        importlib.reload(importlib.import_module(side))  # with its filters, as at a program's start
        importlib.import_module(f"{side}.train").train(config(tmp_path, "plain", **options))
    assert [str(w.message) for w in said if "ckpt_path" in str(w.message)] == []
