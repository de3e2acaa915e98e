"""The bench turns times into the numbers that it says. Nothing here asks how fast this machine is:
the times are made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.made_up import made_up, made_up_bench
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from shared.bench import measuring, results
from shared.bench.plan import Task, make_noise, plan
from shared.bench.results import BenchResult
from shared.bench.timed.stopwatch import Stopwatch
from shared.bench.timing import Times, epoch_seconds, step_seconds, time_program
from shared.data import load
from shared.errors import RunError
from shared.files import SIDES
from shared.model import ConvNet
from shared.processes import run_module


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return made_up_bench()


def test_the_time_of_a_step_leaves_out_what_lies_between_epochs():
    steps = [epoch * 100.0 + i * 2.0 for epoch in range(3) for i in range(20)]
    assert step_seconds(steps, 20) == 2.0


def test_the_time_of_a_step_leaves_out_a_moment_in_which_the_machine_was_busy():
    steps = [i * 2.0 + (i >= 350) * 500 for i in range(1000)]
    assert step_seconds(steps, 1000) == 2.0


def test_the_time_of_a_step_counts_what_comes_every_few_steps():
    steps = [i * 2.0 + i // 10 * 5 for i in range(1000)]
    assert step_seconds(steps, 1000) == pytest.approx(2.5, rel=0.02)


def test_the_first_steps_are_left_out():
    steps = [i * 50.0 for i in range(10)] + [500 + i * 2.0 for i in range(100)]
    assert step_seconds(steps, 1000) == 2.0


def test_the_time_of_an_epoch_is_from_first_step_to_first_step():
    # Epochs of 10, 7 and 7 seconds; the first one is left out, and the last has no end.
    steps = [0.0, 1.0, 10.0, 11.0, 17.0, 18.0, 24.0, 25.0]
    assert epoch_seconds(steps, 2) == 7.0
    assert epoch_seconds(steps[:3], 2) == 10.0
    assert epoch_seconds(steps[:2], 2) is None


def test_too_few_steps_are_no_time():
    with pytest.raises(ValueError, match="too few"):
        step_seconds([1.0], 20)


def test_those_who_are_compared_alternate():
    runs = plan(None, Path("noise"), quick=False)
    limit = [task.who for task, _ in runs if (task.part, task.point) == ("limit", "16")]
    assert limit[:6] == [*SIDES, "limit", "limit", *SIDES[::-1]]
    digits = [task.who for task, _ in runs if task.part == "digits"]
    assert digits[:4] == [*SIDES, *SIDES[::-1]]
    beside = [(task.who, task.point) for task, _ in runs if task.part == "beside"]
    assert beside[:4] == [(side, threads) for side in SIDES for threads in ("1", "2")]
    assert [who for who, _ in beside[4:]] == [who for who, _ in beside[:4]][::-1]


def test_without_mnist_all_but_that_is_measured(tmp_path):
    with_mnist, without = (
        {task.part for task, _ in plan(mnist, tmp_path, quick=False)} for mnist in (tmp_path, None)
    )
    assert with_mnist - without == {"mnist"}


@pytest.mark.parametrize("images", [160, 640])
def test_noise_is_as_many_training_pictures_as_were_asked_for(tmp_path, images):
    make_noise(tmp_path / "noise", images)
    assert len(load("mnist", tmp_path / "noise")["train"]) == images


def test_both_sides_time_from_before_the_first_batch_to_after_the_last_validation(
    side, fit, monkeypatch
):
    """By a clock that shows how many batches have gone through the network."""
    clock = SimpleNamespace(batches=0)
    clock.perf_counter = lambda: float(clock.batches)
    where = {"raw_pytorch": "raw_pytorch.train", "lightning": "lightning.callbacks"}[side]
    monkeypatch.setattr(f"{where}.time", clock)

    def count(module: nn.Module, _: object) -> None:
        clock.batches += isinstance(module, ConvNet)

    counting = register_module_forward_pre_hook(count)
    try:
        seconds = fit(side, max_epochs=2)["fit_seconds"]
    finally:
        counting.remove()
    assert seconds == 2 * (20 + 3)  # batches of training and of validation; none of the test


SCRIPT = """
import torch
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
for _ in range(7):
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
"""


@pytest.mark.long
def test_a_program_is_timed_as_it_is(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    times = time_program([str(tmp_path / "script.py")])
    assert len(times.steps) == 7
    assert 0 < times.steps[0] < times.steps[-1] < times.ended
    assert times.memory is not None and times.memory > 50_000_000
    # What has been taken of the CPU before the first step, of which there is one thread.
    assert times.cpu is not None and 0 < times.cpu < times.steps[0] + 1


NEEDLESS = {"torchmetrics", "torchvision", "pytorch_lightning", "sklearn", "scipy", "matplotlib"}
UNTIL_THE_FIRST_STEP = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_post_hook

def stop(*_):
    print(*{name.partition(".")[0] for name in sys.modules}, flush=True)
    os._exit(0)

register_optimizer_step_post_hook(stop)
sys.argv = ["raw_pytorch", "train"]
runpy.run_module("raw_pytorch", run_name="__main__", alter_sys=True)
"""


@pytest.mark.long
def test_by_hand_nothing_is_loaded_before_the_first_step_that_it_does_not_need(tmp_path):
    (tmp_path / "until.py").write_text(UNTIL_THE_FIRST_STEP)
    done = run_module("until", folder=tmp_path)
    assert done.status == 0, done.err
    loaded = set(done.out.splitlines()[-1].split())
    assert {"torch", "tensorboard", "raw_pytorch"} <= loaded
    assert not NEEDLESS & loaded


def test_a_program_is_left_after_the_steps_that_were_asked_for(tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr("os._exit", left.append)
    stopwatch = Stopwatch(tmp_path / "times.json", limit=3)
    stopwatch.step()
    stopwatch.step()
    assert left == []
    stopwatch.step()
    assert left == [0]
    assert len(json.loads((tmp_path / "times.json").read_text())["steps"]) == 3


def test_what_a_failing_program_said_last_is_reported(tmp_path):
    (tmp_path / "script.py").write_text("raise ValueError('broken on purpose')")
    with pytest.raises(RunError, match=r"status 1: ValueError: broken on purpose"):
        time_program([str(tmp_path / "script.py")])


def test_another_number_of_steps_than_planned_is_noticed():
    task = Task("digits", "", "lightning", (), images=128, epochs=2)
    with pytest.raises(RunError, match="took 3 steps; expected 4"):
        measuring.reduce(task, 0, Times([1.0, 2.0, 3.0], 4.0))


@pytest.fixture
def timed(monkeypatch) -> list[Task]:
    """The runs replaced by made-up ones: the tasks that were timed, one after the other."""
    made: list[Task] = []

    def fake(tasks: list[Task], *_: Any) -> Iterator[Times]:
        for task in tasks:
            made.append(task)
            yield made_up(task, 0)

    monkeypatch.setattr(measuring, "timed", fake)
    return made


def test_an_interrupted_bench_keeps_what_it_has_and_is_taken_up(command, timed, monkeypatch):
    fake = measuring.timed

    def interrupted(*args: Any) -> Iterator[Times]:
        for times in fake(*args):
            if len(timed) == 3:
                raise KeyboardInterrupt
            yield times

    arguments = ("--quick", "--only", "digits", "--data_dir", "nowhere")
    monkeypatch.setattr(measuring, "timed", interrupted)
    stopped = command("shared.bench", *arguments)
    assert stopped.status == 130
    assert "2 of 4 runs are kept" in stopped.err
    assert len(json.loads(results.UNFINISHED.read_text())["runs"]) == 2

    timed.clear()
    monkeypatch.setattr(measuring, "timed", fake)
    finished = command("shared.bench", *arguments)
    assert finished.status == 0, finished.err
    assert "going on: 2 runs are there" in finished.out
    assert len(timed) == 2
    assert len(json.loads(results.QUICK.read_text())["runs"]) == 4
    assert not results.UNFINISHED.exists()
    assert not results.FULL.exists()


def test_runs_of_other_code_are_never_mixed(command, timed, monkeypatch):
    results.FOLDER.mkdir(parents=True)
    arguments = ("--quick", "--only", "digits", "--data_dir", "nowhere")
    command("shared.bench", *arguments)
    results.QUICK.rename(results.UNFINISHED)
    monkeypatch.setattr(measuring, "digest", lambda: "of other code")
    assert "starting anew" in command("shared.bench", *arguments).out
    assert len(timed) == 8


def test_a_part_that_is_measured_anew_goes_into_the_whole_bench(command, timed, result):
    results.FOLDER.mkdir(parents=True)
    whole = {**result, "machine": measuring.describe_machine()}
    whole["settings"] = {"data_dir": False, "threads": 1, "accelerator": "cpu"}
    results.FULL.write_text(results.dumps(whole))
    outcome = command("shared.bench", "--only", "digits", "--data_dir", "nowhere")
    assert outcome.status == 0, outcome.err
    made = json.loads(results.FULL.read_text())["runs"]
    old = [row for row in whole["runs"] if row["part"] != "digits"]
    assert [row for row in made if row["part"] != "digits"] == old
    digits = {(row["who"], row["step_us"]) for row in made if row["part"] == "digits"}
    assert digits == {("raw_pytorch", 1000.0), ("lightning", 1400.0)}
    whole["machine"] = {"cpu": "another"}
    results.FULL.write_text(results.dumps(whole))
    command("shared.bench", "--only", "digits", "--data_dir", "nowhere")
    assert json.loads(results.FULL.read_text())["runs"] == whole["runs"]


def test_a_wrong_part_is_one_line(command, one_line):
    wrong = command("shared.bench", "--only", "speed")
    assert wrong.status == 2
    one_line(wrong.err, "--only", "speed", "digits")
    wrong = command("shared.bench", "--threads", "many")
    assert wrong.status == 2
    one_line(wrong.err, "--threads", "many")
