"""The path of a TPU, without one: XLA's own CPU device stands in. `make test-xla` builds an
environment with torch_xla, which nobody else needs."""

from __future__ import annotations

import importlib

import pytest
from support.record import SIDES

from shared.checkpoints import read_checkpoint
from shared.config import Config

pytest.importorskip("torch_xla", reason="make test-xla tests the path of a TPU")


@pytest.fixture(autouse=True)
def one_tpu(monkeypatch):
    from pytorch_lightning.accelerators import XLAAccelerator
    from torch_xla._internal import tpu

    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    monkeypatch.setattr(tpu, "num_available_devices", lambda: 1)
    XLAAccelerator.auto_device_count.cache_clear()
    XLAAccelerator.is_available.cache_clear()


COMMON = dict(accelerator="tpu", max_epochs=2, batch_size=100)


@pytest.mark.parametrize(
    "options",
    [dict(dropout=0.3), dict(accumulate_grad_batches=3, gradient_clip_val=0.5)],
    ids=["dropout", "accumulation and clipping"],
)
def test_both_sides_compute_the_same_run_on_xla(options, fit, tmp_path):
    # Nothing is recorded on the way: each look at a tensor makes XLA compile another program.
    raw, lightning = (
        fit(side, **COMMON, run_dir=str(tmp_path / side), **options) for side in SIDES
    )
    assert raw["device"] == lightning["device"] == "xla:0"
    for name in raw:
        if name not in ("implementation", "run_dir", "fit_seconds", "train_images_per_second"):
            assert raw[name] == lightning[name], name
    # What was written there loads here.
    saved = read_checkpoint(tmp_path / "lightning" / "checkpoints" / "best.ckpt")
    assert all(value.device.type == "cpu" for value in saved["state_dict"].values())
    for side in SIDES:
        for program in SIDES:
            here = Config(accelerator="cpu", run_dir=str(tmp_path / side))
            _, tested = importlib.import_module(f"{program}.test").test(here)
            assert tested["test/accuracy"] == pytest.approx(raw["test_accuracy"], abs=1e-6)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_on_xla_is_refused_in_one_line(side, precision, command, one_line):
    outcome = command(side, "train", "--accelerator", "tpu", "--precision", precision)
    assert outcome.status == 2
    one_line(outcome.err, "--precision", "32-true")
