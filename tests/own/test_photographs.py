"""Photographs of digits: the ink is found on its paper, under any light, and on an empty sheet none
is found. The digits are scikit-learn's, and so is the network that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import ONE, SIDE, photograph, written
from support.programs import Outcome

from shared.checkpoints import read_checkpoint
from shared.data import ImageDataset, load
from shared.model import ConvNet
from shared.pictures.fit import prepare

# So many of each kind, and how many of them at least have to be right.
COUNT, ENOUGH = 10, 9


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load("digits", "data")["test"]


@pytest.fixture(scope="module")
def read(trained: Path) -> Callable[[np.ndarray], int]:
    """The digit on a picture uint8 [28, 28], as the network of a whole run reads it."""
    saved = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    net = ConvNet(dropout=0.1).eval()
    net.load_state_dict({name.removeprefix("net."): v for name, v in saved["state_dict"].items()})

    def answer(picture: np.ndarray) -> int:
        images = torch.from_numpy(picture)[None, None]
        batch, _ = ImageDataset(images, torch.zeros(1), 0.3060, 0.3250).__getitems__([0])
        with torch.inference_mode():
            return int(net(batch).argmax())

    return answer


def drawn(digits: ImageDataset, place: int) -> np.ndarray:
    return digits.images[place, 0].numpy()


@pytest.mark.long
@pytest.mark.parametrize("light", ONE)
def test_a_digit_is_read_under_any_light(
    light: str, digits: ImageDataset, read: Callable[[np.ndarray], int]
) -> None:
    rng, right = np.random.default_rng(0), 0
    for place in range(COUNT):
        found = prepare("digits", ONE[light](written([drawn(digits, place)], rng), rng))
        right += [read(picture) for picture in found] == [int(digits.labels[place])]
    assert right >= ENOUGH


@pytest.mark.long
def test_two_digits_are_found_from_left_to_right(
    digits: ImageDataset, read: Callable[[np.ndarray], int]
) -> None:
    rng, right = np.random.default_rng(0), 0
    for place in range(COUNT):
        pair = [place, place + 10]
        sheet = written([drawn(digits, one) for one in pair], rng, height=170)
        found = prepare("digits", photograph(sheet, 1.0, rng))
        right += [read(picture) for picture in found] == digits.labels[pair].tolist()
    assert right >= ENOUGH


@pytest.mark.parametrize(
    ("count", "at_most"), [(3, 0), pytest.param(COUNT, COUNT - ENOUGH, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("light", ONE)
def test_on_an_empty_sheet_nothing_is_found(light: str, count: int, at_most: int) -> None:
    rng, found = np.random.default_rng(0), 0
    for _ in range(count):
        found += bool(prepare("digits", ONE[light](np.zeros((SIDE, SIDE)), rng)))
    assert found <= at_most


@pytest.mark.long
def test_an_empty_sheet_is_answered_with_no_digit_and_two_digits_with_two_lines(
    side: str,
    digits: ImageDataset,
    trained: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
) -> None:
    rng = np.random.default_rng(0)
    photograph(np.zeros((SIDE, SIDE)), 1.0, rng).save("empty.png")
    sheet = written([drawn(digits, 0), drawn(digits, 1)], rng, height=170)
    photograph(sheet, 1.0, rng).save("two.png")
    files = ["--images", "empty.png", "two.png"]
    done = command(side, "predict", "--run_dir", trained, *files)
    assert done.status == 1
    one_line(done.err, "--images: no digit found on empty.png")
    said, *answers = done.out.splitlines()
    assert said == "several digits found, answered from left to right: two.png"
    assert [line.split("  ")[-1] for line in answers] == ["two.png, 1 of 2", "two.png, 2 of 2"]
    assert [line[0] for line in answers] == [str(int(label)) for label in digits.labels[:2]]
