"""The event files of both sides, read back: their curves overlay in TensorBoard."""

from __future__ import annotations

import importlib
import math

import pytest
from record import SIDES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shared.config import Config

TAGS = {
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "lr",
    "epoch",
}  # fmt: skip
EPOCHS, STEPS = 3, 20


@pytest.fixture(scope="module", params=[1, 7])
def interval(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def scalars(interval, tmp_path_factory) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For each side and tag, the points (step, value) in the order in which they were written."""
    result = {}
    for side in SIDES:
        run_dir = tmp_path_factory.mktemp(side) / "run"
        config = Config(run_dir=str(run_dir), max_epochs=EPOCHS, log_every_n_steps=interval)
        importlib.import_module(f"{side}.train").fit(config)
        events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
        result[side] = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    return result


@pytest.mark.parametrize("side", SIDES)
def test_the_tags_are_those_of_the_design(scalars, side):
    assert set(scalars[side]) == TAGS


@pytest.mark.parametrize("tag", sorted(TAGS))
def test_both_sides_write_the_same_points(scalars, tag):
    raw, lightning = (scalars[side][tag] for side in SIDES)
    assert raw == lightning


@pytest.mark.parametrize("side", SIDES)
def test_losses_stand_at_every_nth_step_counted_from_zero(scalars, side, interval):
    expected = list(range(interval - 1, EPOCHS * STEPS, interval))
    for tag in ("train/loss", "lr"):
        assert [step for step, _ in scalars[side][tag]] == expected


@pytest.mark.parametrize("side", SIDES)
def test_averages_of_an_epoch_stand_at_its_last_step(scalars, side):
    expected = [STEPS * (epoch + 1) - 1 for epoch in range(EPOCHS)]
    for tag in ("train/accuracy", "val/loss", "val/accuracy"):
        assert [step for step, _ in scalars[side][tag]] == expected


@pytest.mark.parametrize("side", SIDES)
def test_the_learning_rate_rises_once_and_falls_once(scalars, side):
    rates = [rate for _, rate in scalars[side]["lr"]]
    peak = rates.index(max(rates))
    assert 0 < peak < len(rates) - 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("side", SIDES)
def test_the_training_loss_falls(scalars, side):
    losses = [loss for _, loss in scalars[side]["train/loss"]]
    assert losses[-1] < losses[0] / 3
    assert all(math.isfinite(loss) for loss in losses)
