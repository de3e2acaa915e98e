"""The event files of both sides, read back: their curves overlay in TensorBoard."""

from __future__ import annotations

import importlib
import math
import re
from collections import Counter

import pytest
from support.fewer import few
from support.record import SIDES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from shared import figures
from shared.config import Config

# The real ones: conftest.py leaves pictures out of all other tests.
ADD_FIGURE, ADD_GRAPH = SummaryWriter.add_figure, SummaryWriter.add_graph
CONFUSION, MISTAKES = figures.confusion_figure, figures.mistakes_figure

TAGS = {
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "lr",
    "epoch",
}  # fmt: skip
METRICS = ["val/loss", "val/accuracy", "test/loss", "test/accuracy"]
EPOCHS, STEPS = 3, 20


@pytest.fixture(scope="module", params=few([1, 7], [7]))
def interval(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def events(interval, tmp_path_factory) -> dict[str, EventAccumulator]:
    """What each side wrote, pictures included."""
    result = {}
    for side in SIDES:
        run_dir = tmp_path_factory.mktemp(side) / "run"
        config = Config(
            run_dir=str(run_dir), max_epochs=EPOCHS, log_every_n_steps=interval,
            accelerator="cpu", lr=0.02, width=4,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SummaryWriter, "add_figure", ADD_FIGURE)
            patch.setattr(SummaryWriter, "add_graph", ADD_GRAPH)
            patch.setattr(figures, "confusion_figure", CONFUSION)
            patch.setattr(figures, "mistakes_figure", MISTAKES)
            importlib.import_module(f"{side}.train").train(config)
        guidance = {"scalars": 0, "images": 0}
        result[side] = EventAccumulator(str(run_dir), size_guidance=guidance).Reload()
    return result


@pytest.fixture(scope="module")
def scalars(events) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For each side and tag, the points (step, value) in the order in which they were written."""
    return {
        side: {
            tag: [(event.step, event.value) for event in events[side].Scalars(tag)]
            for tag in events[side].Tags()["scalars"]
        }
        for side in SIDES
    }


@pytest.mark.parametrize("tag", ["val/confusion_matrix", "val/mistakes"])
def test_both_sides_draw_the_same_pictures_after_the_last_epoch(events, tag):
    raw, lightning = (events[side].Images(tag) for side in SIDES)
    assert [picture.step for picture in raw] == [EPOCHS * STEPS - 1]
    assert [picture.step for picture in lightning] == [EPOCHS * STEPS - 1]
    assert raw[0].encoded_image_string == lightning[0].encoded_image_string
    assert (raw[0].width, raw[0].height) >= (400, 400)


def test_both_sides_draw_the_same_graph_of_the_model(events):
    # A number at the end of a name counts the values of the trace, metrics of a module among them.
    raw, lightning = (
        Counter((re.sub(r"/\d+$", "", node.name), node.op) for node in events[side].Graph().node)
        for side in SIDES
    )
    assert raw.total() > 20
    assert any("Conv2d" in name for name, _ in raw)
    assert raw == lightning


def test_the_hyperparameters_are_what_differs_from_the_defaults_beside_the_last_points(events):
    found = {}
    for side in SIDES:
        plugin = events[side].PluginTagToContent("hparams")
        assert set(plugin) >= {"_hparams_/experiment", "_hparams_/session_start_info"}
        start = HParamsPluginData.FromString(plugin["_hparams_/session_start_info"])
        experiment = HParamsPluginData.FromString(plugin["_hparams_/experiment"]).experiment
        assert [metric.name.tag for metric in experiment.metric_infos] == METRICS
        # Beside them stands when the run began.
        found[side] = {k: str(v) for k, v in start.session_start_info.hparams.items()}
    assert set(found["raw_pytorch"]) == {"lr", "max_epochs", "accelerator", "width"}
    assert found["raw_pytorch"] == found["lightning"]


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
    assert [step for step, _ in scalars[side]["train/accuracy"]] == expected
    # With the hyperparameters, the last point is written once more, after the last step.
    for tag in ("val/loss", "val/accuracy"):
        points = scalars[side][tag]
        assert [step for step, _ in points] == [*expected, STEPS * EPOCHS]
        assert points[-1][1] == points[-2][1]


def test_the_digits_write_a_point_every_five_steps_by_default():
    assert Config().log_every_n_steps == 5
    assert Config(dataset="mnist").log_every_n_steps == 50


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
