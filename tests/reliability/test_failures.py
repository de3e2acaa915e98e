"""A run that cannot go on says why in one line, and leaves nothing behind that could fool anybody:
no orphan process, no folder that two runs share."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.fewer import few
from support.killed import Moment, ended, fork_server, start
from support.programs import wait_for
from support.record import at_batch, spoiled_loss

from shared.checkpoints import read_checkpoint
from shared.config import Config
from shared.data import ImageDataset
from shared.errors import UsageError, fail
from shared.run_folder import create_run_dir

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

SHORT = (
    "--max_epochs", 1, "--batch_size", 25, "--accelerator", "cpu", "--checkpoint_every_n_steps", 3,
    "--width", 4,
)  # fmt: skip


def raising(error: BaseException) -> Any:
    def happens() -> None:
        raise error

    return happens


@pytest.mark.fault("a loss that is NaN or infinite")
@pytest.mark.parametrize(
    ("value", "accumulate", "step", "saved"),
    few([(math.nan, 1, 7, 6), (math.inf, 3, 2, 2), (-math.inf, 1, 7, 6)], [(math.inf, 3, 2, 2)]),
)
def test_a_loss_that_is_no_number_stops_the_run_before_it_reaches_the_weights(
    side, value, accumulate, step, saved, command, one_line, fault
):
    flags = ["--run_dir", "run", *SHORT, "--accumulate_grad_batches", accumulate]
    flags += ["--checkpoint_every_n_steps", 6 // accumulate]
    with spoiled_loss(7, value):
        outcome = command(side, "train", *flags)
    assert outcome.status == 1
    one_line(outcome.err, f"became {value:g} at step {step} (epoch 0, batch 7, learning rate 0.0")
    fault.sees(outcome.err)
    last = read_checkpoint(Path("run/checkpoints/last.ckpt"))
    assert last["global_step"] == saved
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())
    assert not Path("run/summary.json").exists()
    assert command(side, "train", "--ckpt_path", "last", *flags).status == 0


@pytest.mark.fault("a loss that is NaN or infinite")
def test_a_validation_loss_that_is_no_number_ends_the_run_before_its_checkpoints(
    side, command, one_line, fault
):
    """The last training loss is finite, and the step after it spoils the weights."""
    flags = ("--max_epochs", 2, "--lr", 100, "--weight_decay", 100, "--batch_size", 63)
    flags += ("--early_stopping_patience", 1, "--accelerator", "cpu", "--run_dir", "run")
    outcome = command(side, "train", *flags)
    assert outcome.status == 1
    one_line(outcome.err, "the validation loss became nan in epoch 0; lower --lr")
    fault.sees(outcome.err)
    assert list(Path("run/checkpoints").iterdir()) == []


@pytest.mark.fault("a loss that is NaN or infinite")
def test_one_batch_whose_validation_loss_is_no_number_is_enough(
    side, command, one_line, monkeypatch
):
    """torchmetrics would leave it out of the mean, unless told otherwise."""
    cross_entropy = F.cross_entropy

    def spoiled(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        is_last = not torch.is_grad_enabled() and len(labels) == 20
        return cross_entropy(logits, labels) * (math.nan if is_last else 1)

    monkeypatch.setattr(F, "cross_entropy", spoiled)
    outcome = command(side, "train", "--run_dir", "run", *SHORT)
    assert outcome.status == 1
    one_line(outcome.err, "the validation loss became nan in epoch 0")


MEMORY = {
    "of a GPU": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB"
    ),
    "of a CPU, in torch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "of a CPU, in Python": MemoryError(),
}


@pytest.mark.fault("no memory left")
@pytest.mark.parametrize("kind", few(MEMORY, ["of a GPU"]))
def test_no_memory_left_says_what_to_lower(side, kind, command, one_line, fault):
    with at_batch(5, raising(MEMORY[kind])):
        outcome = command(side, "train", "--run_dir", "run", *SHORT)
    assert outcome.status == 1
    one_line(outcome.err, "out of memory", "--batch_size")
    if "GPU" in kind:
        fault.sees(outcome.err)
    # What was saved before is there, and can be gone on from.
    assert command(side, "train", "--run_dir", "run", "--ckpt_path", "last", *SHORT).status == 0


@pytest.mark.fault("no memory left")
def test_a_batch_that_does_not_fit_is_said_to_be_too_large(side, command, one_line, monkeypatch):
    """The real error, which the allocator of this machine raises."""

    def huge(*_: object) -> None:
        torch.empty(2**50, dtype=torch.uint8)

    monkeypatch.setattr(ImageDataset, "__getitems__", huge)
    outcome = command(side, "train", "--run_dir", "run", *SHORT)
    assert outcome.status == 1
    one_line(outcome.err, "out of memory", "--batch_size")


@pytest.mark.fault("a process that loads batches is killed")
def test_a_worker_that_is_killed_is_reported_and_no_other_stays(side, tmp_path, one_line, fault):
    run = start(side, tmp_path / "run", Moment("worker", 1), "--num_workers", "2")
    status, text = ended(run)
    assert status == 1
    one_line(text, "DataLoader worker", "killed by signal", "--num_workers")
    fault.sees(re.sub("pid [0-9]+", "pid 1234", text))
    assert_no_worker_is_left(run)


@pytest.mark.fault("a process that loads batches is killed")
@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_worker_that_is_killed_while_it_hands_over_a_batch_is_reported(
    side, error, command, one_line, fault, monkeypatch
):
    """Its connection breaks off, and for a moment it still passes for alive."""
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", broken)
    outcome = command(side, "train", "--run_dir", "run", *SHORT, "--num_workers", "1")
    assert outcome.status == 1
    one_line(outcome.err, "DataLoader worker", "killed by signal", "--num_workers")
    fault.sees(outcome.err)


@pytest.mark.fault("a process that loads batches stands still")
def test_a_program_that_ends_does_not_wait_for_a_worker_that_stands_still(capsys, fault):
    """It hears no SIGTERM, and Python would wait for it at the end."""
    worker = multiprocessing.get_context("fork").Process(target=stand_still, daemon=True)
    worker.start()
    wait_for(lambda: "T (stopped)" in Path(f"/proc/{worker.pid}/status").read_text())
    with pytest.raises(SystemExit):
        fail("interrupted by SIGINT", 130)
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL
    fault.sees(capsys.readouterr().err)


def stand_still() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.fault("an error in a process that loads batches")
def test_an_error_in_a_worker_is_reported_as_its_own(side, tmp_path, one_line, fault):
    run = start(side, tmp_path / "run", Moment("worker", 1, None), "--num_workers", "2")
    status, text = ended(run)
    assert status == 1
    one_line(text, "IndexError: picture 7 is not there", "in worker process")
    fault.sees(text)
    assert_no_worker_is_left(run)


def assert_no_worker_is_left(run: Any) -> None:
    workers = [int(pid) for pid in Path(f"{run.log}.workers").read_text().split()]
    assert len(workers) >= 2
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 20)


def claims(side: str, barrier: Any, folder: str, run_dir: str | None, place: str) -> None:
    """Claim a run folder; but first wait, before the first folder `place` is made, until all have
    come so far."""
    waited = False

    def wait(event: str, arguments: tuple) -> None:
        nonlocal waited
        if event == "os.mkdir" and not waited and Path(arguments[0]).name == place:
            waited = True
            barrier.wait(60)

    os.chdir(folder)
    sys.addaudithook(wait)
    try:
        claimed = create_run_dir(side, Config(run_dir=run_dir))
    except UsageError as error:
        assert "holds a run already" in str(error)
        raise SystemExit(2) from None
    Path("claimed").mkdir(exist_ok=True)
    Path("claimed", f"{claimed}".replace("/", " ")).touch(exist_ok=False)


@pytest.fixture
def eight(tmp_path: Path) -> Any:
    """`eight(side, run_dir, place)`: the statuses of eight processes that claim at once."""

    def run(side: str, run_dir: str | None, place: str) -> list[int]:
        context = fork_server()
        barrier = context.Barrier(8)
        arguments = (side, barrier, str(tmp_path), run_dir, place)
        processes = [context.Process(target=claims, args=arguments) for _ in range(8)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        return [process.exitcode for process in processes]

    return run


@pytest.mark.fault("eight runs started at the same moment")
def test_runs_started_at_once_have_folders_of_their_own(side, eight, fault):
    assert eight(side, None, "version_0") == [0] * 8
    assert len(os.listdir("claimed")) == 8
    fault.sees("each has a folder of its own")


@pytest.mark.fault("eight runs started at the same moment with the same --run_dir")
@pytest.mark.parametrize("before", few(["missing", "empty"], ["missing"]))
@pytest.mark.parametrize("place", ["run", "checkpoints"])
def test_of_runs_started_at_once_with_one_folder_one_gets_it(side, before, place, eight, fault):
    if before == "empty":
        Path("run").mkdir()
    assert sorted(eight(side, "run", place)) == [0] + [2] * 7
    fault.sees("one has the folder; to the others it holds a run already")
