"""Several processes as a user starts them: by --devices or by torchrun, on one machine or two, and
what happens when one of them dies."""

from __future__ import annotations

import subprocess
import time

import pytest
import torch
from support.record import SIDES
from support.two_processes import FLAGS, TORCHRUN, WORKER, fingerprint

from shared.checkpoints import read_checkpoint
from shared.config import Config


def ended(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@pytest.mark.long
@pytest.mark.parametrize("side", SIDES)
def test_two_machines_are_one_run(side, start, done, tmp_path):
    """Two agents on one machine, which know nothing of each other but the meeting point."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        start(
            *TORCHRUN, "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", "--rdzv_id=1",
            f"--rdzv_endpoint=127.0.0.1:{port}", "--local_addr=127.0.0.1", "-m", side, "train",
            "--devices", 1, "--num_nodes", 2, *FLAGS, cwd=tmp_path,
        )
        for _ in range(2)
    ]  # fmt: skip
    outcomes = [ended(node) for node in nodes]
    assert [status for status, _, _ in outcomes] == [0, 0], outcomes
    out = "".join(out for _, out, _ in outcomes)
    assert fingerprint(out) == done[0]["whole-raw_pytorch"]["summary"]["weights_sha256"]
    assert [path.name for path in (tmp_path / "runs" / side / "digits").iterdir()] == ["version_0"]


@pytest.mark.long
@pytest.mark.parametrize("side", SIDES)
def test_a_run_goes_on_by_itself_after_one_process_was_killed(side, start, done, tmp_path):
    process = start(
        *TORCHRUN, "--standalone", "--nproc_per_node=2", "--max_restarts=1",
        WORKER, "die", side, 17, "kill", *FLAGS,
        "--checkpoint_every_n_steps", 5, cwd=tmp_path,
    )  # fmt: skip
    status, out, err = ended(process)
    assert status == 0, err
    assert fingerprint(out) == done[0]["whole-raw_pytorch"]["summary"]["weights_sha256"]
    assert [path.name for path in (tmp_path / "runs" / side / "digits").iterdir()] == ["version_0"]


@pytest.mark.long
@pytest.mark.parametrize("side", SIDES)
def test_a_process_that_fails_ends_the_others_and_says_why(side, start, tmp_path):
    began = time.monotonic()
    process = start(
        *TORCHRUN, "--standalone", "--nproc_per_node=2", WORKER, "die", side,
        3, "raise", *FLAGS, cwd=tmp_path,
    )  # fmt: skip
    status, _, err = ended(process)
    assert status != 0
    assert "error: process 1: the second process has had enough" in err
    # Far less than it would wait for the other.
    assert time.monotonic() - began < 60


@pytest.mark.long
@pytest.mark.fault("a loss that is NaN or infinite", kind="failures")
@pytest.mark.parametrize("side", SIDES)
def test_a_loss_that_is_no_number_in_one_process_ends_all_of_them(side, start, tmp_path):
    process = start(
        *TORCHRUN, "--standalone", "--nproc_per_node=2", WORKER, "die", side,
        7, "nan", *FLAGS, "--checkpoint_every_n_steps", 5, cwd=tmp_path,
    )  # fmt: skip
    status, _, err = ended(process)
    assert status != 0
    assert "error: process 1: the loss became nan at step 7 (epoch 0, batch 7" in err
    run_dir = tmp_path / "runs" / side / "digits" / "version_0"
    last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 5
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--devices", 3], "--devices: got 3, but torchrun started 2 processes"),
        (["--devices", 2, "--num_nodes", 2], "--num_nodes: got 2, but torchrun started 1 machines"),
    ],
)
def test_flags_that_disagree_with_torchrun_are_answered_by_one_process(
    side, flags, words, command, one_line, monkeypatch
):
    torchrun = dict(TORCHELASTIC_RUN_ID="x", LOCAL_WORLD_SIZE="2", WORLD_SIZE="2")
    torchrun.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    for rank in ("0", "1"):
        for name, value in dict(torchrun, RANK=rank, LOCAL_RANK=rank).items():
            monkeypatch.setenv(name, value)
        outcome = command(side, "train", *flags)
        assert (outcome.status, outcome.out) == (2, "")
        if rank == "0":
            one_line(outcome.err, words)
        else:
            assert outcome.err == ""


@pytest.mark.parametrize("side", SIDES)
def test_more_machines_need_torchrun(side, command, one_line):
    outcome = command(side, "train", "--num_nodes", 2, "--accelerator", "cpu")
    assert outcome.status == 2
    one_line(outcome.err, "--num_nodes", "torchrun")


@pytest.mark.parametrize("side", SIDES)
def test_more_devices_than_there_are_is_refused(side, command, one_line, monkeypatch):
    from pytorch_lightning.accelerators import CUDAAccelerator

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", lambda: 1)
    outcome = command(side, "train", "--devices", 4, "--accelerator", "cuda")
    assert outcome.status == 2
    one_line(outcome.err, "--devices: got 4", "1 of kind cuda")


@pytest.mark.parametrize("side", SIDES)
def test_torchrun_says_how_many_there_are_where_the_flags_do_not(side, monkeypatch):
    for name, value in dict(
        TORCHELASTIC_RUN_ID="x",
        LOCAL_WORLD_SIZE="2",
        WORLD_SIZE="6",
        RANK="5",
        LOCAL_RANK="1",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT="29500",
    ).items():
        monkeypatch.setenv(name, value)
    config = Config()
    assert (config.devices, config.num_nodes) == (2, 3)
