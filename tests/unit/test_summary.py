"""What a run leaves behind, and what its programs answer, on both sides."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support.programs import ROOT
from support.record import SIDES

from shared.config import Config
from shared.files import write_atomically
from shared.run_folder import create_run_dir
from shared.summary import fingerprint, print_summary

KEYS = (
    "implementation dataset seed device world_size precision epochs global_step parameters "
    "train_images val_loss val_accuracy test_loss test_accuracy best_epoch fit_seconds "
    "train_images_per_second weights_sha256 best_weights_sha256 versions"
).split()
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


def test_the_fingerprint_does_not_depend_on_the_order_of_names():
    assert fingerprint(WEIGHTS) == fingerprint(dict(reversed(WEIGHTS.items())))


@pytest.mark.parametrize(
    "other",
    [
        {**WEIGHTS, "a": torch.arange(6.0).reshape(3, 2)},
        {**WEIGHTS, "a": WEIGHTS["a"].nextafter(torch.tensor(9.0))},
        {**WEIGHTS, "a": WEIGHTS["a"].int()},
        {"c": WEIGHTS["a"], "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"]},
    ],
    ids=["shape", "last bit", "dtype", "name", "missing"],
)
def test_the_fingerprint_changes_with(other):
    assert fingerprint(other) != fingerprint(WEIGHTS)


def test_the_summary_is_complete_and_readable(one_epoch, side):
    run = one_epoch[side]
    written = json.loads((run.folder / "summary.json").read_text())
    assert written == run.summary
    assert [key for key in KEYS if key not in written] == []


def test_the_closing_lines_fit_on_80_columns(one_epoch, side, capsys):
    print_summary(one_epoch[side].summary)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.long
def test_both_sides_learn_the_whole_recipe_to_the_same_weights(fit):
    raw, lightning = (fit(side, width=Config.width, max_epochs=None) for side in SIDES)
    assert raw["train_images"] == 1257
    for name in ("weights_sha256", "best_weights_sha256", "test_loss", "val_loss"):
        assert raw[name] == lightning[name]


@pytest.mark.long
def test_the_recipe_of_the_digits_reaches_99_percent_on_average(fit):
    """The mean of five seeds, from the raw side: the other is equal to the bit."""
    recipe = dict(width=Config.width, max_epochs=None)
    accuracies = [fit("raw_pytorch", seed=seed, **recipe)["test_accuracy"] for seed in range(5)]
    assert sum(accuracies) / 5 >= 0.99


def test_runs_started_at_once_never_share_a_folder():
    folders, start = [], threading.Barrier(8)

    def claim() -> None:
        start.wait()
        folders.append(create_run_dir("raw_pytorch", Config()))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 8


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_holds_a_run_is_not_written_over(one_epoch, side, command, one_line):
    before = (one_epoch[side].folder / "summary.json").read_bytes()
    outcome = command(side, "train", "--run_dir", one_epoch[side].folder)
    assert outcome.status == 2
    one_line(outcome.err, "--run_dir", "holds a run already")
    assert (one_epoch[side].folder / "summary.json").read_bytes() == before


def test_a_folder_whose_run_came_to_nothing_is_said_to_be_free(side, command, one_line):
    create_run_dir(side, Config(run_dir="run"))
    outcome = command(side, "train", "--run_dir", "run")
    assert outcome.status == 2
    one_line(outcome.err, "holds a run already; it has no checkpoint: ", "or delete this one")


def test_the_saved_configuration_is_the_resolved_one(one_epoch, side):
    import yaml

    saved = yaml.safe_load((one_epoch[side].folder / "config.yaml").read_text())
    assert set(saved) == {field.name for field in dataclasses.fields(Config)}
    assert saved["batch_size"] == 64
    assert Config(**saved).run_dir == str(one_epoch[side].folder)


@pytest.mark.parametrize("flag", ["--help", "--sed"])
def test_help_and_a_wrong_flag_do_not_wait_for_torch(flag, side):
    code = (
        f"import runpy, sys; sys.argv = ['x', 'train', '{flag}']\n"
        f"try: runpy.run_module('{side}', run_name='__main__')\n"
        "except SystemExit as e: sys.exit(3 if 'torch' in sys.modules else e.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if flag == "--help" else 2), done.stderr
    assert ("--accumulate_grad_batches" in done.stdout) == (flag == "--help")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--dataset", "letters"), ("--max_epochs", "0"), ("--lr", "nan"), ("--seed", "-1"),
        ("--accelerator", "gpu7"), ("--precision", "8"), ("--dropout", "1"), ("--epochs", "3"),
        ("--config", "missing.yaml"), ("--ckpt_path", "missing.ckpt"), ("--batch_size", "many"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named_in_one_line_with_status_2(wrong, side, command, one_line):
    outcome = command(side, "train", *wrong)
    assert outcome.status == 2
    one_line(outcome.err, wrong[0])
    assert not Path("runs").exists()


def test_both_sides_have_the_same_help_but_for_their_name(command):
    texts = [command(side, "train", "--help").out.replace(side, "side") for side in SIDES]
    assert " ".join(texts[0].split()) == " ".join(texts[1].split())
