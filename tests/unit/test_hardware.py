"""What a run computes on: one choice for both sides, and one line where the machine has it not."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest
import torch

from shared import hardware
from shared.config import Config
from shared.errors import UsageError


@pytest.fixture
def machine() -> Iterator[pytest.MonkeyPatch]:
    """A machine with two CUDA GPUs and nothing else, whatever this one is. It is gone before
    anything is put back after a test, since torch loads code by what it finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(torch.backends.mps, "is_available", lambda: False)
        patch.setattr(hardware, "has_tpu", lambda: False)
        patch.setattr(torch.accelerator, "is_available", lambda: True)
        patch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
        yield patch


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "cuda"),
        ({"devices": 2, "precision": "16-mixed"}, "cuda"),
        ({"accelerator": "cpu"}, "cpu"),
        ({"accelerator": "cpu", "devices": 7, "precision": "bf16-mixed"}, "cpu"),
    ],
)
def test_the_accelerator_is_the_one_asked_for_or_the_best_there_is(
    options: dict, expected: str, machine: None
) -> None:
    assert hardware.choose_accelerator(Config(**options)) == expected


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"accelerator": "mps"}, "--accelerator: mps is not available on this machine"),
        ({"accelerator": "tpu"}, "--accelerator: tpu is not available on this machine"),
        ({"devices": 3}, "--devices: got 3; this machine has 2 of kind cuda"),
        ({"num_nodes": 2}, "--num_nodes: got more than 1; start the program by torchrun"),
        ({"accelerator": "cpu", "precision": "16-mixed"}, "--precision: 16-mixed needs a CUDA GPU"),
    ],
)
def test_what_the_machine_has_not_is_named(options: dict, line: str, machine: None) -> None:
    with pytest.raises(UsageError, match=f"^{line}"):
        hardware.choose_accelerator(Config(**options))


def test_a_tpu_is_taken_where_there_is_nothing_else_and_computes_in_32_bits(
    machine: pytest.MonkeyPatch,
) -> None:
    machine.setattr(hardware, "has_tpu", lambda: True)
    machine.setattr(torch.accelerator, "is_available", lambda: False)
    assert hardware.choose_accelerator(Config()) == "tpu"
    with pytest.raises(UsageError, match=r"^--precision: got bf16-mixed; a TPU takes 32-true only"):
        hardware.choose_accelerator(Config(precision="bf16-mixed"))


def test_operations_are_deterministic_and_memory_is_not_filled_for_it() -> None:
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    hardware.make_deterministic(threads=1)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.get_num_threads() == 1


@pytest.mark.fault("too few open files for the processes that load batches", kind="failures")
def test_too_few_open_files_for_the_workers_are_said_before_a_run_begins(
    side, command, one_line, monkeypatch, fault
):
    limits = {"now": (32, 64)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(now=new))
    outcome = command(side, "train", "--num_workers", 1, "--accelerator", "cpu")
    assert (outcome.status, outcome.out) == (2, "")
    one_line(outcome.err, "--num_workers: 1 need 80 open files, and ulimit -n allows 64; lower")
    fault.sees(outcome.err)
    limits["now"] = (32, resource.RLIM_INFINITY)
    hardware.choose_accelerator(Config(num_workers=1, accelerator="cpu"))
    assert limits["now"] == (80, resource.RLIM_INFINITY)  # what may be raised is
