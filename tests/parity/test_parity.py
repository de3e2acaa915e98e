"""The two sides are the same run to the last bit, on every device that is there."""

from __future__ import annotations

import importlib

import pytest
import torch
from support.fewer import few
from support.record import SIDES, Record, assert_equal_runs, record_fit

from shared.checkpoints import check_checkpoint, find_checkpoint
from shared.config import Config

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

# A quarter of the width takes a quarter of the time, and of bf16 on a CPU a tenth.
SHORT = dict(max_epochs=3, dropout=0.2, batch_size=16, width=4)

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append("cuda")
if torch.backends.mps.is_available():
    DEVICES.append("mps")

# Two epochs of 20 steps, the last batch of each smaller than the others.
CONFIGURATIONS = {
    "defaults": dict(width=16),
    "no dropout": dict(dropout=0.0),
    "dropout": dict(dropout=0.3),
    "another seed": dict(seed=7),
    "one large batch": dict(batch_size=2000),
    "odd batch size": dict(batch_size=23),
    "recipe": dict(lr=0.003, weight_decay=0.1),
    "another width": dict(width=5),
    "workers": dict(num_workers=2, dropout=0.2, batch_size=50),
    "accumulation with a last window that is not full": dict(accumulate_grad_batches=3),
    "accumulation over more than an epoch": dict(accumulate_grad_batches=50),
    "clipping": dict(gradient_clip_val=0.1),
    "bf16-mixed": dict(precision="bf16-mixed"),
    "early stopping": dict(max_epochs=6, batch_size=50, early_stopping_patience=1, lr=0.3),
    "fast_dev_run": dict(fast_dev_run=True),
    "checkpoints within the epoch": dict(checkpoint_every_n_steps=3),
    "everything": dict(
        accumulate_grad_batches=3,
        gradient_clip_val=0.5,
        precision="bf16-mixed",
        early_stopping_patience=2,
        checkpoint_every_n_steps=2,
        num_workers=1,
        dropout=0.5,
        batch_size=13,
    ),
}
# One of each feature; the others are left to make test-long.
AT_ONCE = (
    "defaults", "dropout", "accumulation with a last window that is not full", "clipping",
    "bf16-mixed", "early stopping", "fast_dev_run", "checkpoints within the epoch", "everything",
    "16-mixed",
)  # fmt: skip
if torch.cuda.is_available():
    CONFIGURATIONS["16-mixed"] = dict(precision="16-mixed", gradient_clip_val=0.5)


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def runs(device: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """One run of each side with dropout, shared by the tests that only look at its results."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        side: record_fit(
            side,
            Config(run_dir=str(folder / side), **SHORT, accelerator=device),
        )
        for side in SIDES
    }


@pytest.mark.parametrize("name", few(CONFIGURATIONS, AT_ONCE))
def test_both_sides_compute_the_same_run(name, device, tmp_path):
    raw, lightning = (
        record_fit(
            side,
            Config(
                **{"max_epochs": 2, "batch_size": 16, "width": 4, **CONFIGURATIONS[name]},
                run_dir=str(tmp_path / side),
                accelerator=device,
            ),
        )
        for side in SIDES
    )
    assert_equal_runs(raw, lightning)


def test_evaluation_computes_the_same_losses(runs):
    raw, lightning = (runs[side].eval_losses for side in SIDES)
    # Lightning begins with a sanity check of two validation batches, which changes nothing else.
    assert len(lightning) == len(raw) + 2
    for ours, theirs in zip(raw, lightning[2:], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoints_hold_the_same_state(runs, name):
    raw, lightning = (runs[side].checkpoint(name) for side in SIDES)
    assert raw["state_dict"].keys() == lightning["state_dict"].keys()
    for key, tensor in raw["state_dict"].items():
        assert torch.equal(tensor, lightning["state_dict"][key]), key
    ours, theirs = (c["optimizer_states"][0] for c in (raw, lightning))
    assert ours["param_groups"] == theirs["param_groups"]
    for index, state in ours["state"].items():
        for key, tensor in state.items():
            assert torch.equal(tensor, theirs["state"][index][key]), (index, key)
    for key in ("lr_schedulers", "epoch", "global_step", "hyper_parameters"):
        assert raw[key] == lightning[key], key


def test_the_raw_checkpoint_holds_all_of_lightnings_keys(runs):
    def keys(value, path=""):
        if not isinstance(value, dict):
            return {path}
        return {path}.union(*(keys(v, f"{path}/{k}") for k, v in value.items()))

    for part in ("loops", "datamodule_hyper_parameters"):
        raw, lightning = (runs[side].checkpoint("last")[part] for side in SIDES)
        assert keys(raw) == keys(lightning), part
    raw, lightning = (runs[side].checkpoint("last")["callbacks"] for side in SIDES)
    assert raw.keys() <= lightning.keys()


@pytest.mark.parametrize("writer", SIDES)
def test_predictions_of_one_checkpoint_are_equal(runs, device, writer, capsys):
    path = f"{runs[writer].summary['run_dir']}/checkpoints/best.ckpt"
    config = Config(ckpt_path=path, accelerator=device)
    raw, lightning = (importlib.import_module(f"{s}.predict").predict(config) for s in SIDES)
    assert raw.shape == (90, 10)
    assert torch.equal(raw, lightning)


@pytest.mark.parametrize("writer", SIDES)
def test_both_sides_test_one_checkpoint_alike(runs, device, writer):
    path = f"{runs[writer].summary['run_dir']}/checkpoints/best.ckpt"
    config = Config(ckpt_path=path, accelerator=device)
    raw, lightning = (importlib.import_module(f"{s}.test").test(config)[1] for s in SIDES)
    assert raw == lightning
    assert raw["test/accuracy"] == runs[writer].summary["test_accuracy"]


@pytest.mark.parametrize("side", SIDES)
def test_the_same_run_twice_is_the_same(side, runs, device, tmp_path):
    config = Config(run_dir=str(tmp_path), **SHORT, accelerator=device)
    again = record_fit(side, config)
    assert again.summary["weights_sha256"] == runs[side].summary["weights_sha256"]


@pytest.mark.parametrize("side", SIDES)
def test_another_seed_is_another_run(side, runs, device, tmp_path):
    config = Config(run_dir=str(tmp_path), **SHORT, accelerator=device, seed=1)
    other = record_fit(side, config)
    assert other.summary["weights_sha256"] != runs[side].summary["weights_sha256"]


@pytest.mark.parametrize("side", SIDES)
def test_best_is_found_in_the_given_run_folder(side, runs):
    config = Config(run_dir=runs[side].summary["run_dir"], ckpt_path="best")
    checkpoint = check_checkpoint(find_checkpoint(side, config), config, resume=False)
    assert checkpoint["epoch"] == runs[side].summary["best_epoch"]


@pytest.mark.parametrize("threads", [1, 2])
def test_parity_holds_with_any_number_of_threads(threads, tmp_path):
    common = dict(max_epochs=1, threads=threads, accelerator="cpu", width=4)
    try:
        raw, lightning = (
            record_fit(side, Config(**common, run_dir=str(tmp_path / side))) for side in SIDES
        )
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert_equal_runs(raw, lightning)
