"""What each of two processes computes, on both sides: started once for all tests that ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.forks.client import Forks
from shared.processes import as_torchrun
from support.record import SIDES

ROOT = Path(__file__).resolve().parents[2]
BATCH = 50
OPTIONS = dict(
    max_epochs=2, batch_size=BATCH, accelerator="cpu", log_every_n_steps=1, width=4, dropout=0.3,
)  # fmt: skip
EVERYTHING = dict(
    accumulate_grad_batches=3, gradient_clip_val=0.5, precision="bf16-mixed",
    early_stopping_patience=1, num_workers=1, checkpoint_every_n_steps=2,
)  # fmt: skip
BARE = dict(max_epochs=1, dropout=0, lr=0.3)
FLAGS = ["--max_epochs", 2, "--batch_size", BATCH, "--accelerator", "cpu", "--width", 4]
FLAGS += ["--dropout", 0.3]
NO_ADAM = ["whole_batches", "without_adam"]
NO_NORM = [*NO_ADAM, "without_batch_norm"]
WORKER = ROOT / "tests/support/ddp_worker.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def computed(once: Callable[..., Path], forks: Forks) -> Callable[..., list[dict[str, Any]]]:
    """`computed("name", jobs)`: what each of two processes computed, by name of the job. A name is
    started once, for it takes long."""

    def make(folder: Path, jobs: Callable[[Path], list[dict[str, Any]]]) -> None:
        folder.mkdir()
        (folder / "jobs.json").write_text(json.dumps(jobs(folder)))
        words = [sys.executable, str(WORKER), str(folder)]
        with open(folder / "said.txt", "w") as said:
            processes = [
                forks.start(words, folder, said, {**os.environ, **place})
                for place in as_torchrun(2)
            ]
            statuses = [process.wait(600) for process in processes]
        assert statuses == [0, 0], (folder / "said.txt").read_text()

    def read(name: str, jobs: Callable[[Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        folder = once(name, lambda folder: make(folder, jobs))
        return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]

    return read


@pytest.fixture(scope="session")
def done(computed: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Whole runs, and runs that were stopped and resumed."""
    return computed("two_processes", whole_and_resumed)


@pytest.fixture(scope="session")
def halves(computed: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """An epoch of batches of which each process has one half."""
    return computed("halves", in_halves)


def in_halves(folder: Path) -> list[dict[str, Any]]:
    return [
        job(name, side, folder, *alterations, batch_size=32, **BARE)
        for side in SIDES
        for name, alterations in {"with norm": NO_ADAM, "no norm": NO_NORM}.items()
    ]


def whole_and_resumed(folder: Path) -> list[dict[str, Any]]:
    jobs = []
    for side, other in (SIDES, SIDES[::-1]):
        jobs += [
            job("whole", side, folder),
            job("everything", side, folder, **EVERYTHING),
            job("stopped", side, folder, interrupt=[1, 15]),
        ]  # fmt: skip
        # Each side goes on where the other was stopped.
        resumed = job("resumed", side, folder, ckpt_path="last")
        resumed["options"]["run_dir"] = str(folder / f"stopped-{other}")
        jobs.append(resumed)
    # Those that go on need those that were stopped.
    return sorted(jobs, key=lambda j: j["name"].startswith("resumed"))


def fingerprint(out: str) -> str:
    lines = [line.split()[-1] for line in out.splitlines() if line.startswith("weights ")]
    assert len(lines) == 1, out
    return lines[0]
