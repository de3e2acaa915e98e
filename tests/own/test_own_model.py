"""A network of your own, by `--model mine.py:MyNet`: trained by both sides alike, remembered by a
checkpoint, and refused in one line where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.programs import Outcome

from shared.model import make_network

MINE = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self, in_shape, num_classes):
        super().__init__()
        pixels = in_shape[0] * in_shape[1] * in_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 20), nn.ReLU(),
                                    nn.Dropout(0.2), nn.Linear(20, num_classes))

    def forward(self, images):
        return self.layers(images)

def made_by_a_function(dropout):
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.LazyLinear(10))

class Narrow(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(100, 10))

class FiveClasses(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 5))

class Untrainable(nn.Module):
    def forward(self, images):
        return torch.zeros(len(images), 10)

def no_network():
    return 3

def needs_more(size):
    return nn.Identity()

def fails():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def mine() -> None:
    Path("mine.py").write_text(MINE)


@pytest.mark.parametrize("name", ["MyNet", "made_by_a_function"])
def test_both_sides_train_it_to_the_same_weights(
    name: str, fit: Callable[..., dict[str, Any]]
) -> None:
    raw, lightning = (fit(side, model=f"mine.py:{name}") for side in ("raw_pytorch", "lightning"))
    assert raw["weights_sha256"] == lightning["weights_sha256"]
    assert raw["parameters"] < 20_000


def test_to_try_it_out_draws_nothing_from_the_generator() -> None:
    torch.manual_seed(0)
    make_network("mine.py:MyNet", [1, 28, 28], list("0123456789"), 0.0, 16)
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    with torch.no_grad():
        torch.nn.Linear(784, 20), torch.nn.Linear(20, 10)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_checkpoint_remembers_it_and_is_not_taken_for_another(
    side: str, command: Callable[..., Outcome], one_line: Callable[..., None]
) -> None:
    options = ["--accelerator", "cpu", "--run_dir", "run"]
    own = ["--model", "mine.py:MyNet"]
    assert command(side, "train", *options, *own, "--max_epochs", 1).status == 0
    for other in ("raw_pytorch", "lightning"):
        assert command(other, "test", *options, *own).status == 0
        done = command(other, "test", *options)
        assert (done.status, done.out) == (2, "")
        one_line(done.err, "--model: got 'ConvNet'", "was trained with 'mine.py:MyNet'")


WRONG = {
    "none.py:MyNet": (2, "--model: no file none.py; expected mine.py:MyNet"),
    "mine.py:Mynet": (2, "mine.py has no class or function Mynet; it has MyNet, Narrow"),
    "mine.py:Narrow": (1, "does not take images of the shape [2, 1, 28, 28]", "2x784 and 100x10"),
    "mine.py:FiveClasses": (1, "makes [2, 5] of images of the shape [2, 1, 28, 28]", "[2, 10]"),
    "mine.py:Untrainable": (1, "mine.py:Untrainable has no parameters to train"),
    "mine.py:no_network": (1, "mine.py:no_network gives a int; expected an nn.Module"),
    "mine.py:needs_more": (1, "could not be made (TypeError: needs_more() missing 1 required"),
    "mine.py:fails": (1, "could not be made (ZeroDivisionError: division by zero, line 37)"),
    "broken.py:MyNet": (1, "broken.py could not be read (SyntaxError: ", "line 2"),
}


@pytest.mark.fault("a network of your own that does not fit", kind="input")
@pytest.mark.parametrize("model", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(
    model: str,
    side: str,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    Path("broken.py").write_text("\nclass MyNet(\n")
    status, *parts = WRONG[model]
    done = command(side, "train", "--accelerator", "cpu", "--model", model)
    assert (done.status, done.out) == (status, "")
    one_line(done.err, "--model: ", *parts)
    fault.sees(done.err)
