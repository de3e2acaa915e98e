"""What a run shows: a bar in a terminal, its closing lines, and nothing else."""

from __future__ import annotations

import importlib
import io
import os
import re
import signal

import pytest
from support.record import SIDES, at_batch

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module", params=[1, 3])
def shown(request, fit, tmp_path_factory) -> dict[str, str]:
    """What each side draws in a terminal in two epochs of 13 batches, with windows of 1 and 3."""
    texts = {}
    for side in SIDES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", terminal := Terminal())
            fit(
                side, progress_bar=True, max_epochs=2, batch_size=25,
                accumulate_grad_batches=request.param,
                run_dir=str(tmp_path_factory.mktemp("bar") / side),
            )  # fmt: skip
        texts[side] = terminal.getvalue()
    return texts


@pytest.mark.parametrize("side", SIDES)
def test_the_bar_counts_the_batches_of_an_epoch(side, shown):
    assert re.search(r"Epoch 0.* 13/13 ", shown[side])
    assert re.search(r"Epoch 1.* 13/13 ", shown[side])


def test_the_bar_ends_with_the_same_loss_and_accuracy_on_both_sides(shown):
    pattern = r"train/loss=(\d\.\d{3}), val/accuracy=([01]\.\d{3})"
    ends = [re.findall(pattern, shown[side]) for side in SIDES]
    assert ends[0][-1] == ends[1][-1]


@pytest.mark.parametrize("side", SIDES)
def test_a_run_prints_its_closing_lines_and_nothing_else(side, command, tmp_path):
    """Nor a warning: test_distributed.py starts both sides as a user does, with that in view."""
    options = ("--max_epochs", 1, "--accelerator", "cpu", "--run_dir", tmp_path / "run")
    outcome = command(side, "train", *options)
    assert (outcome.status, outcome.err) == (0, "")
    names = [line[:14].strip() for line in outcome.out.splitlines()]
    assert names == [
        "dataset", "model", "trained", "validation", "test", "weights", "best weights",
        "run folder",
    ]  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_the_line_about_an_interrupt_stands_below_the_bar(side, tmp_path, monkeypatch):
    terminal = Terminal()
    options = ["--max_epochs", "2", "--batch_size", "25", "--accelerator", "cpu", "--run_dir"]
    monkeypatch.setattr("sys.argv", [side, "train", *options, str(tmp_path / "run")])
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    main = importlib.import_module(f"{side}.__main__").main
    with at_batch(20, lambda: os.kill(os.getpid(), signal.SIGTERM)), pytest.raises(SystemExit):
        main()
    *_, bar, line, end = terminal.getvalue().split("\n")
    assert re.search(r"Epoch 1.*/13 ", bar)
    assert line.startswith("error: interrupted by SIGTERM; to resume: ")
    assert end == ""
