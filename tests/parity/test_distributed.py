"""Several processes train one model: both sides alike to the bit, every image counted once, and
nobody left waiting for one that died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from support.ddp_worker import record
from support.record import SIDES

from shared.checkpoints import read_checkpoint
from shared.config import Config
from shared.errors import UsageError

BATCH = 50
OPTIONS = dict(max_epochs=2, batch_size=BATCH, accelerator="cpu", log_every_n_steps=1)
EVERYTHING = dict(
    dropout=0.3, accumulate_grad_batches=3, gradient_clip_val=0.5, precision="bf16-mixed",
    early_stopping_patience=1, num_workers=1, checkpoint_every_n_steps=2,
)  # fmt: skip
NO_ADAM = ["whole_batches", "without_adam"]
NO_NORM = [*NO_ADAM, "without_batch_norm"]
WORKER = ROOT / "tests/support/ddp_worker.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(*command)` starts a process that ends with the tests, with all it has started."""
    started = []

    def begin(*command: object, **options: Any) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC")}
        environment.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
        # Or processes that are started again read the addresses of the dead ones
        # (pytorch/pytorch#135712).
        environment.update(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
        process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def job(name: str, side: str, folder: Path, *alterations: str, **options: Any) -> dict[str, Any]:
    interrupt = options.pop("interrupt", None)
    options = {**OPTIONS, "run_dir": str(folder / f"{name}-{side}"), **options}
    return dict(
        name=f"{name}-{side}", side=side, options=options, alterations=alterations,
        interrupt=interrupt, predicts=name == "whole",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory, start) -> list[dict[str, Any]]:
    """What each of two processes computed, by name of the job: started once, for it takes long."""
    folder = tmp_path_factory.mktemp("two")
    jobs = []
    for side, other in (SIDES, SIDES[::-1]):
        jobs += [
            job("plain", side, folder),
            job("everything", side, folder, **EVERYTHING),
            job("with norm", side, folder, *NO_ADAM, batch_size=32, max_epochs=1, dropout=0),
            job("no norm", side, folder, *NO_NORM, batch_size=32, max_epochs=1, dropout=0),
            job("stopped", side, folder, dropout=0.3, interrupt=[1, 15]),
            job("whole", side, folder, dropout=0.3),
        ]  # fmt: skip
        # Each side goes on where the other was stopped.
        resumed = job("resumed", side, folder, dropout=0.3, ckpt_path="last")
        resumed["options"]["run_dir"] = str(folder / f"stopped-{other}")
        jobs.append(resumed)
    # Those that go on need those that were stopped.
    jobs.sort(key=lambda j: j["name"].startswith("resumed"))
    (folder / "jobs.json").write_text(json.dumps(jobs))
    process = start(
        *TORCHRUN, "--standalone", "--nproc_per_node=2", WORKER, folder,
        cwd=folder,
    )  # fmt: skip
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def flat(lists: list[list[int]]) -> list[int]:
    return [item for part in lists for item in part]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["plain", "everything", "whole"])
def test_both_sides_compute_the_same_in_each_process(name, rank, done):
    raw, lightning = (done[rank][f"{name}-{side}"] for side in SIDES)
    for key in ("train_losses", "gradients", "learning_rates", "weights"):
        assert raw[key], key
        assert raw[key] == lightning[key], key
    # Lightning's sanity check comes first: two batches of validation.
    assert raw["eval_losses"] == lightning["eval_losses"][2:]
    for key in ("weights_sha256", "best_weights_sha256", "global_step", "test_accuracy"):
        assert raw["summary"].get(key) == lightning["summary"].get(key), key


@pytest.mark.parametrize("side", SIDES)
def test_all_processes_have_the_same_weights_after_every_step(side, done):
    first, second = (rank[f"everything-{side}"] for rank in done)
    assert first["weights"] == second["weights"]
    assert first["train_losses"] != second["train_losses"]


@pytest.mark.parametrize("side", SIDES)
def test_each_process_is_given_its_share_of_an_epoch_and_another_in_the_next(side, done):
    shares = [flat(rank[f"plain-{side}"]["train"]) for rank in done]
    for epoch in range(2):
        part = slice(epoch * 629, (epoch + 1) * 629)
        # 1,257 images on 2 processes: one of them is trained on twice, so that both have as many.
        assert sorted(shares[0][part] + shares[1][part])[:1] == [0]
        assert len(set(shares[0][part] + shares[1][part])) == 1257
        assert len(shares[0][part]) == len(shares[1][part]) == 629
    assert shares[0][:629] != shares[0][629:]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("split", "images"), [("val", 180), ("test", 360)])
def test_evaluation_counts_every_image_once(split, images, side, done):
    skip = 4 if side == "lightning" and split == "val" else 0  # the sanity check's: two by each
    shares = [rank[f"plain-{side}"][split][skip // 2 :] for rank in done]
    times = 2 if split == "val" else 1
    both = flat(shares[0] + shares[1])
    assert sorted(both) == sorted(list(range(images)) * times)


@pytest.mark.parametrize("side", SIDES)
def test_one_process_prepares_the_data_and_the_other_waits_for_it(side, done):
    first, second = (rank[f"plain-{side}"]["preparation"] for rank in done)
    assert first[:2] == ["prepared", "loaded"]
    assert set(second) == {"loaded"}


def test_predictions_of_two_processes_are_complete_and_in_order(done):
    raw, lightning = (done[0][f"whole-{side}"] for side in SIDES)
    assert raw["probabilities"] == lightning["probabilities"]
    assert len(raw["probabilities"]) == 360
    tables = []
    for side in SIDES:
        rows = Path(done[0][f"whole-{side}"]["summary"]["run_dir"], "predictions.csv")
        table = [row.split(",") for row in rows.read_text().splitlines()[1:]]
        assert [int(row[0]) for row in table] == list(range(360))
        # In another order, they would be right one time in ten.
        right = sum(row[1] == row[2] for row in table) / 360
        assert right == pytest.approx(raw["summary"]["test_accuracy"])
        tables.append(table)
    assert tables[0] == tables[1]


def test_the_usual_sampler_counts_some_images_twice():
    """What ExactSampler is for: of 9 images, two of which are right, 2/9 would become 2/10."""
    from torch.utils.data import DistributedSampler

    shares = [list(DistributedSampler(range(9), 2, rank, shuffle=False)) for rank in range(2)]
    assert sorted(flat(shares)) == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("side", SIDES)
def test_gradients_are_averaged_once_in_a_window_of_accumulation(side, done):
    for rank in done:
        plain, everything = rank[f"plain-{side}"], rank[f"everything-{side}"]
        assert plain["all_reduces"] == len(plain["weights"]) == 26
        assert len(everything["train_losses"]) == 26
        assert everything["all_reduces"] == len(everything["weights"]) == 10


@pytest.mark.parametrize("side", SIDES)
def test_the_first_process_alone_writes(side, done):
    assert done[1][f"plain-{side}"]["summary"] == {}
    run_dir = Path(done[0][f"plain-{side}"]["summary"]["run_dir"])
    assert done[0][f"plain-{side}"]["summary"]["world_size"] == 2
    files = {path.name for path in run_dir.rglob("*") if "tfevents" not in path.name}
    assert files - {"hparams.yaml"} == {
        "checkpoints", "best.ckpt", "last.ckpt", "config.yaml", "summary.json", ".torchrun",
    }  # fmt: skip
    assert not (Path(run_dir).parent / "runs").exists()


@pytest.mark.parametrize("writer", SIDES)
def test_a_signal_to_one_process_stops_all_at_the_same_step(writer, done):
    stopped = [rank[f"stopped-{writer}"] for rank in done]
    assert all(rank["interrupted"] for rank in stopped)
    assert len(stopped[0]["weights"]) == len(stopped[1]["weights"]) == 16


@pytest.mark.parametrize("resumer", SIDES)
def test_an_interrupted_run_of_two_processes_goes_on_exactly_on_the_other_side(resumer, done):
    writer = SIDES[1 - SIDES.index(resumer)]
    for rank in done:
        before, after = rank[f"stopped-{writer}"], rank[f"resumed-{resumer}"]
        whole = rank[f"whole-{writer}"]
        assert before["train_losses"] + after["train_losses"] == whole["train_losses"]
        assert before["weights"] + after["weights"] == whole["weights"]
        for key in ("weights_sha256", "best_weights_sha256", "val_accuracy", "test_loss"):
            assert after["summary"].get(key) == whole["summary"].get(key)


def largest_difference(one: str | Path, two: str | Path) -> float:
    one, two = (read_checkpoint(Path(p) / "checkpoints" / "last.ckpt")["state_dict"]
                for p in (one, two))  # fmt: skip
    floats = [name for name, value in one.items() if value.is_floating_point()]
    return max(float((one[name] - two[name]).abs().max()) for name in floats)


@pytest.mark.parametrize("side", SIDES)
def test_one_and_two_processes_differ_by_batch_norm_and_otherwise_by_rounding(side, done, tmp_path):
    """The same 64 images make a step, in one process or as two times 32. Each process normalises
    with the mean of its own 32; without batch norm, only sums are taken in another order. A float32
    is exact to 6e-8, and 19 steps with momentum let that grow: measured, to 8e-6, against 9e-2."""
    options = dict(OPTIONS, batch_size=64, max_epochs=1, dropout=0)
    differences = {}
    for name, alterations in {"with norm": NO_ADAM, "no norm": NO_NORM}.items():
        alone = record(side, dict(options, run_dir=str(tmp_path / name)), alterations)
        batches = [rank[f"{name}-{side}"]["train"] for rank in done]
        together = [sorted(a + b) for a, b in zip(*batches, strict=True)]
        assert together == [sorted(batch) for batch in alone["train"]]
        two = done[0][f"{name}-{side}"]["summary"]["run_dir"]
        differences[name] = largest_difference(tmp_path / name, two)
    assert differences["with norm"] > 0.05, differences
    assert differences["no norm"] < 5e-5, differences


def test_a_run_of_two_processes_is_not_resumed_by_one(done, tmp_path):
    path = Path(done[0]["plain-lightning"]["summary"]["run_dir"]) / "checkpoints" / "last.ckpt"
    from lightning.train import train

    with pytest.raises(UsageError, match=r"--devices: 1 process in all; .* with 2"):
        train(Config(**{**OPTIONS, "run_dir": str(tmp_path / "new"), "ckpt_path": str(path)}))


# As programs


def ended(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def fingerprint(out: str) -> str:
    lines = [line.split()[-1] for line in out.splitlines() if line.startswith("weights ")]
    assert len(lines) == 1, out
    return lines[0]


FLAGS = ["--max_epochs", 2, "--batch_size", BATCH, "--accelerator", "cpu"]


# What a shell has within a Slurm job, and after it, and what was set by hand and forgotten.
LEFTOVERS = dict(
    SLURM_JOB_ID="17", SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2", SLURM_PROCID="1", RANK="abc",
    LOCAL_RANK="0", WORLD_SIZE="", NODE_RANK="1", MASTER_ADDR="10.255.255.1", MASTER_PORT="abc",
    GLOO_SOCKET_IFNAME="ib7", PL_GLOBAL_SEED="x", PL_TRAINER_LIMIT_TRAIN_BATCHES="1",
)  # fmt: skip


@pytest.mark.fault("variables of a cluster that mean another job", kind="clusters")
@pytest.mark.parametrize("side", SIDES)
def test_devices_starts_the_processes_by_itself_whatever_a_cluster_has_left_in_the_environment(
    side, start, done, tmp_path, monkeypatch
):
    for name, value in LEFTOVERS.items():
        monkeypatch.setenv(name, value)
    # Lightning would resume from it.
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("of another job")
    status, out, err = ended(
        start(sys.executable, "-m", side, "train", "--devices", 2, *FLAGS, cwd=tmp_path)
    )
    assert status == 0, err
    # What C++ says when a process ends while a thread of its gives up its connection: seen once in
    # some forty runs, after everything was done.
    assert err.replace("terminate called without an active exception\n", "") == ""
    assert fingerprint(out) == done[0]["plain-raw_pytorch"]["summary"]["weights_sha256"]
    assert "2 × cpu" in out


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
    assert fingerprint(out) == done[0]["plain-raw_pytorch"]["summary"]["weights_sha256"]
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
    assert fingerprint(out) == done[0]["plain-raw_pytorch"]["summary"]["weights_sha256"]
    assert [path.name for path in (tmp_path / "runs" / side / "digits").iterdir()] == ["version_0"]


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
