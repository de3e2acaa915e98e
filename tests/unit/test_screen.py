"""What a run shows: a bar in a terminal, its closing lines, and nothing else; and where that goes
which its terminal cannot show, or nobody reads."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.programs import ROOT
from support.record import SIDES, at_batch

from shared.errors import run
from shared.screen import Screen
from shared.signals import caught, leave_on_signal

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
    """To three digits: Lightning's bar fills up with noughts, and shows 1.704 as 1.700."""
    pattern = r"train/loss=([\d.]+), val/accuracy=([\d.]+)"
    raw, lightning = (re.findall(pattern, shown[side])[-1] for side in SIDES)
    assert list(map(float, raw)) == list(map(float, lightning))


@pytest.mark.parametrize("side", SIDES)
def test_a_run_prints_its_closing_lines_and_nothing_else(side, command, tmp_path):
    """Nor a warning: test_distributed.py starts both sides as a user does, with that in view."""
    options = ("--max_epochs", 1, "--accelerator", "cpu", "--width", 4)
    outcome = command(side, "train", *options, "--run_dir", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    names = [line[:14].strip() for line in outcome.out.splitlines()]
    assert names == [
        "dataset", "model", "trained", "validation", "test", "weights", "best weights",
        "run folder",
    ]  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_the_line_about_an_interrupt_stands_below_the_bar(side, tmp_path, monkeypatch):
    terminal = Terminal()
    options = ["--max_epochs", "2", "--batch_size", "25", "--accelerator", "cpu"]
    options += ["--width", "4", "--run_dir"]
    monkeypatch.setattr("sys.argv", [side, "train", *options, str(tmp_path / "run")])
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    main = importlib.import_module(f"{side}.__main__").main
    with at_batch(20, lambda: os.kill(os.getpid(), signal.SIGTERM)), pytest.raises(SystemExit):
        run(main)
    *_, bar, line, end = terminal.getvalue().split("\n")
    assert re.search(r"Epoch 1.*/13 ", bar)
    assert line.startswith("error: interrupted by SIGTERM; to resume: ")
    assert end == ""


@pytest.mark.parametrize("side", SIDES)
def test_a_terminal_is_told_what_is_trained_before_the_libraries_load(side, monkeypatch):
    """The first line comes even if nothing can be imported after it."""
    terminal = Terminal()
    monkeypatch.setattr("sys.argv", [side, "train", "--max_epochs", "1"])
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setitem(sys.modules, f"{side}.train", None)
    monkeypatch.setitem(sys.modules, "raw_pytorch.distributed", None)
    with pytest.raises(SystemExit):
        run(importlib.import_module(f"{side}.__main__").main)
    assert terminal.getvalue() == "training      digits, ConvNet of width 16, 1 epoch\n"


@pytest.mark.parametrize("side", SIDES)
def test_the_last_line_says_whether_the_other_sides_run_has_equal_weights(side, command, fit):
    """Of the newest run of the same configuration, and only if it has finished."""
    other = next(name for name in SIDES if name != side)
    few = ("--batch_size", 157, "--width", 4)
    options = ("train", "--max_epochs", 1, "--accelerator", "cpu", *few)
    alone = command(side, *options).out.splitlines()[-1]
    fit(other, batch_size=157, seed=1)
    another = command(side, *options).out.splitlines()[-1]
    summary = fit(other, batch_size=157)
    same = command(side, *options).out.splitlines()[-1]
    path = Path(summary["run_dir"]) / "summary.json"
    path.write_text(json.dumps({**summary, "weights_sha256": "0" * 64}))
    different = command(side, *options).out.splitlines()[-1]
    path.unlink()
    unfinished = command(side, *options).out.splitlines()[-1]
    for line in (alone, another, unfinished):
        assert line.startswith("run folder ")
    assert same == f"{other:13} the same weights, to the last bit, in version_1"
    assert different == f"{other:13} other weights, in version_1"


ENCODINGS = ("ascii", "latin-1", "cp1252", "big5", "koi8-r", "utf-8", "utf-16")


@pytest.mark.fault("a terminal that lacks letters", kind="terminals")
@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(ENCODINGS))
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_what_a_terminal_cannot_show_is_escaped(text, encoding):
    written = io.BytesIO()
    screen = Screen(io.TextIOWrapper(written, encoding, newline="\n"))
    screen.write(text)
    screen.flush()
    assert written.getvalue() == text.encode(encoding, "backslashreplace")


@pytest.mark.fault("nobody reads what is printed", kind="terminals")
@pytest.mark.parametrize("buffering", [1, 1 << 16])
def test_what_nobody_reads_any_more_goes_nowhere(buffering, fault):
    reader, writer = os.pipe()
    screen = Screen(os.fdopen(writer, "w", buffering))
    print("a line", file=screen, flush=True)
    os.close(reader)
    for _ in range(3):
        print("x" * 100_000, file=screen, flush=True)
    screen.close()
    fault.sees("nothing; the run goes on")


@pytest.mark.fault("nobody reads what is printed", kind="terminals")
def test_a_full_disk_under_stdout_is_said_once():
    screen = Screen(Path("/dev/full").open("w"))  # noqa: SIM115
    print("a line", file=screen)
    with pytest.raises(OSError, match="No space left on device"):
        screen.flush()
    print("another", file=screen, flush=True)
    screen.close()


@pytest.mark.fault("nobody reads what is printed", kind="terminals")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stdout", ["a pipe", "closed"])
def test_a_program_whose_output_nobody_reads_ends_as_ever(side, stdout):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", side, "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: os.close(1)) if stdout == "closed" else None,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.fault("a terminal that lacks letters", kind="terminals")
@pytest.mark.parametrize("side", SIDES)
def test_a_name_in_utf8_is_read_where_python_was_told_that_all_is_ascii(side, program, fault):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        outcome = program(side, "train", "--config", "手書き.yaml")
    assert outcome == (2, "", "error: --config: \\u624b\\u66f8\\u304d.yaml: no such file\n")
    fault.sees(outcome.err)


def test_under_nohup_a_closed_terminal_ends_nothing():
    assert signal.SIGHUP in caught()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    leave_on_signal()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGUSR1) not in (signal.SIG_IGN, signal.SIG_DFL)
