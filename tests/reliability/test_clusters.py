"""What torchrun, Slurm, LSF, MPI and Kubernetes leave in the environment changes no run; what
torchrun says counts, and a variable by which it cannot have meant anything is named."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning_fabric.utilities.rank_zero import rank_zero_only
from support.record import SIDES

from shared import ranks
from shared.cli import parse_command
from shared.errors import run
from shared.processes import as_torchrun


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first process of a run has said to itself, and to Lightning, which one it is."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setattr(ranks, "TIMEOUT", timedelta(seconds=0.5))
    monkeypatch.setattr("sys.stdout", sys.stdout)
    yield


Outcome = tuple[int, str, str]


@pytest.fixture
def trained(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`trained(side, RANK="abc")`: the status, the weights and what was said on stderr."""

    def train(side: str, **environment: str) -> Outcome:
        summaries: list[dict[str, Any]] = []
        module = importlib.import_module(f"{side}.train")
        out = sys.stdout
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            before = dict(os.environ)
            try:
                _, config, _ = parse_command(
                    side, ["train", "--fast_dev_run", "--accelerator", "cpu"]
                )
                run(lambda: summaries.append(module.train(config)))
                status = 0
            except SystemExit as leaving:
                status = leaving.code
            os.environ.clear()
            os.environ.update(before)
        sys.stdout = out
        rank_zero_only.rank = 0
        weights = summaries[0]["weights_sha256"] if summaries else ""
        return status, weights, capsys.readouterr().err

    return train


def torchrun(**others: str) -> dict[str, str]:
    """What torchrun tells the first of two processes."""
    return {**as_torchrun(2)[0], **others}


@pytest.mark.fault("a variable that torchrun cannot have meant", kind="clusters")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "abc"), ("RANK", ""), ("RANK", "2"), ("RANK", "-1"), ("RANK", "٣"),
        ("LOCAL_RANK", "7"), ("WORLD_SIZE", "0"), ("LOCAL_WORLD_SIZE", "3"), ("WORLD_SIZE", "1e1"),
        ("MASTER_PORT", "abc"), ("MASTER_PORT", "65536"), ("MASTER_ADDR", " "),
    ],
)  # fmt: skip
def test_a_variable_of_torchrun_that_cannot_be_meant_is_named(
    side, name, value, trained, one_line, fault
):
    status, _, err = trained(side, **torchrun(**{name: value}))
    assert status == 2
    one_line(err, f"{name}: ", "torchrun sets it to")
    fault.sees(err)


@pytest.mark.fault("processes of a run that never come", kind="clusters")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_no_process_waits_for_ever_and_the_line_says_for_whom(side, rank, trained, one_line, fault):
    environment = torchrun(RANK=rank, LOCAL_RANK=rank)
    status, _, err = trained(side, **environment)
    assert status == 1
    port = environment["MASTER_PORT"]
    one_line(err, f"waited at 127.0.0.1:{port} for 1 more of this run's processes")
    fault.sees(err.replace(port, "29500"))


@pytest.mark.fault("srun that starts the program several times", kind="clusters")
@pytest.mark.parametrize("task", ["0", "1"])
def test_srun_with_several_tasks_is_told_how_by_the_first(side, task, trained, one_line, fault):
    status, _, err = trained(
        side, SLURM_TASK_PID=str(os.getpid()), SLURM_STEP_NUM_TASKS="2", SLURM_PROCID=task
    )
    assert status == 2
    if task == "0":
        one_line(err, "srun: it started 2 tasks", "torchrun")
        fault.sees(err)
    else:
        assert err == ""


VALUES = st.sampled_from(["0", "1", "2", "7", "", "abc", "-1", "node[1-4]", "10.255.255.1", "٣"])
NAMES = (
    "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK MASTER_ADDR MASTER_PORT "
    "STANDALONE_PORT TORCHELASTIC_RESTART_COUNT TORCHELASTIC_USE_AGENT_STORE LAUNCHER_PID "
    "SLURM_JOB_ID SLURM_JOB_NAME SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_PROCID SLURM_LOCALID "
    "SLURM_NODEID SLURM_NNODES SLURM_NODELIST SLURM_STEP_NUM_TASKS SLURM_TASK_PID LSB_JOBID "
    "LSB_DJOB_RANKFILE JSM_NAMESPACE_LOCAL_RANK JSM_NAMESPACE_SIZE JSM_NAMESPACE_RANK "
    "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE PMI_RANK PMI_SIZE KUBERNETES_SERVICE_HOST "
    "PL_GLOBAL_SEED PL_TRAINER_MAX_STEPS PL_TRAINER_DEVICES GLOO_SOCKET_IFNAME PJRT_DEVICE"
).split()
LEFTOVERS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12)


@pytest.mark.fault("variables of a cluster that mean another job", kind="clusters")
@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.chaos)])
def test_any_leftovers_of_a_cluster_change_nothing(examples, trained, fault):
    plain = trained(SIDES[0])
    assert plain[0] == 0

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(LEFTOVERS)
    def any_leftovers(leftovers: dict[str, str]) -> None:
        for side in SIDES:
            assert trained(side, **leftovers) == plain, side

    any_leftovers()
    fault.tried(2 * examples)
    fault.sees("the run, as without them")
