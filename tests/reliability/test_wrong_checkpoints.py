"""A checkpoint that is whole and wrong: spoiled by the run that wrote it, changed by a program, or
put where another run's was."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fewer import few
from support.programs import Outcome, Run
from support.record import SIDES

from shared.checkpoints import check_checkpoint, read_checkpoint
from shared.config import Config
from shared.errors import RunError, UsageError
from shared.run_folder import create_run_dir


@pytest.fixture
def good(side: str, one_epoch: dict[str, Run]) -> Path:
    return one_epoch[side].folder / "checkpoints" / "last.ckpt"


def a_nan(checkpoint: dict) -> None:
    checkpoint["state_dict"]["net.0.weight"][3, 0, 1, 2] = float("nan")


def an_infinite_buffer(checkpoint: dict) -> None:
    name = next(name for name in checkpoint["state_dict"] if "running_var" in name)
    checkpoint["state_dict"][name][1] = float("inf")


SPOILED = {"net.0.weight holds nan": a_nan, "running_var holds inf": an_infinite_buffer}


@pytest.mark.fault("a checkpoint with NaN in its weights", kind="checkpoints")
@pytest.mark.parametrize("words", few(SPOILED, ["net.0.weight holds nan"]))
def test_weights_that_are_no_numbers_are_named_not_resumed_and_tested_with_a_warning(
    words: str, side: str, good: Path, command: Callable[..., Outcome], one_line: Any, fault: Any
) -> None:
    checkpoint = read_checkpoint(good)
    SPOILED[words](checkpoint)
    torch.save(checkpoint, "bad.ckpt")
    done = command(side, "train", "--ckpt_path", "bad.ckpt", "--max_epochs", 1)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "bad.ckpt: its weights are spoiled: ", words)
    fault.sees(done.err)
    for program in ("test", "predict"):
        done = command(side, program, "--ckpt_path", "bad.ckpt", "--accelerator", "cpu")
        assert done.status == 0
        assert done.err.startswith("warning: bad.ckpt: ")
        assert f"{words}; what these weights answer means nothing\n" in done.err
        assert done.err.count("\n") == 1
    fault.tried(3)


def entries(value: Any, way: tuple = ()) -> Iterator[tuple]:
    """The ways to all numbers, texts and tensors in a checkpoint."""
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from entries(part, (*way, key))
    elif isinstance(value, (str, int, float, torch.Tensor)):
        yield way


def other(value: Any, draws: random.Random) -> Any:
    """Something of the same kind."""
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bool):
        return not value
    if not isinstance(value, torch.Tensor):
        return draws.choice([value + 1, value + 979, value * 2 + 1, -value - 1])
    if value.is_floating_point() and value.numel() and value.any() and draws.random() < 0.5:
        return value * draws.choice([2, -1, 1e-3])
    changed = value.clone().reshape(-1)
    if changed.numel() == 0 or draws.random() < 0.3:
        return torch.cat([changed, changed.new_zeros(1)])
    place = draws.randrange(changed.numel())
    changed[place] = not changed[place] if changed.dtype == torch.bool else changed[place] + 1
    return changed.reshape(value.shape)


@pytest.mark.fault("a checkpoint of which one value was changed", kind="checkpoints")
@pytest.mark.parametrize(
    "examples",
    [10, pytest.param(40, marks=pytest.mark.long), pytest.param(1000, marks=pytest.mark.chaos)],
)
def test_a_checkpoint_of_which_anything_was_changed_is_not_resumed(
    examples: int, side: str, good: Path, fault: Any
) -> None:
    """Changed are numbers, texts and tensors, wherever they are."""
    draws = random.Random(side)
    content = read_checkpoint(good)
    config = Config(max_epochs=1, ckpt_path="bad.ckpt")
    ways = list(entries(content))
    assert len(ways) > 200
    for _ in range(examples):
        *way, last = draws.choice(ways)
        changed = copy.deepcopy(content)
        container = changed
        for key in way:
            container = container[key]
        container[last] = other(container[last], draws)
        torch.save(changed, "bad.ckpt")
        with pytest.raises((RunError, UsageError)) as refusal:
            check_checkpoint(Path("bad.ckpt"), config, resume=True)
        assert "bad.ckpt" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    fault.tried(examples)
    fault.sees(
        "error: bad.ckpt: its content was changed after it was written; use another checkpoint"
    )


@pytest.mark.fault("last.ckpt of another run in the folder", kind="checkpoints")
def test_a_checkpoint_that_another_run_left_in_the_folder_is_noticed(
    side: str, good: Path, command: Callable[..., Outcome], one_line: Any, fault: Any
) -> None:
    config = create_run_dir(side, Config(run_dir="run", max_epochs=1, seed=7)) / "config.yaml"
    shutil.copy(good, "run/checkpoints/last.ckpt")
    words = f"run/checkpoints/last.ckpt: trained with seed 0, but {config} says 7"
    run = ("--run_dir", "run", "--ckpt_path", "last", "--accelerator", "cpu")
    done = command(side, "train", *run, "--max_epochs", 1)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, words)
    fault.sees(done.err)
    done = command(side, "test", *run)
    assert (done.status, done.err) == (0, f"warning: {words}\n")
    fault.tried(2)


@pytest.mark.fault("a checkpoint of which one value was changed", kind="checkpoints")
@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.chaos)])
def test_both_sides_answer_alike_from_weights_that_were_changed(
    examples: int, one_epoch: dict[str, Run], command: Callable[..., Outcome], fault: Any
) -> None:
    draws = random.Random(0)
    content = read_checkpoint(one_epoch["lightning"].folder / "checkpoints" / "last.ckpt")
    for _ in range(examples):
        changed = copy.deepcopy(content)
        name, tensor = draws.choice(list(changed["state_dict"].items()))
        if tensor.is_floating_point():
            tensor *= draws.choice([-1.0, 0.0, 1e-30, 3.0, 1e30, float("inf")])
        torch.save(changed, "bad.ckpt")
        flags = ("--ckpt_path", "bad.ckpt", "--accelerator", "cpu")
        raw, lightning = (command(side, "test", *flags) for side in SIDES)
        assert raw == lightning, name
        assert raw.status == 0
    fault.tried(examples)
