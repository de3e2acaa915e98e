"""What the data is, from pictures to normalised batches, and which folders it is read from."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.mirror import expect_sums_of, write_files

from shared.data import (
    DATASETS,
    ImageDataset,
    load,
    prepare,
)
from shared.errors import RunError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(scope="module")
def digits() -> dict[str, ImageDataset]:
    return load("digits", "data")


# What the digits are


def test_the_digits_are_split_into_1257_180_and_360(digits: dict[str, ImageDataset]) -> None:
    sizes = {name: len(split) for name, split in digits.items()}
    assert sizes == {"train": 1257, "val": 180, "test": 360}
    for split in digits.values():
        assert split.images.shape == (len(split), 1, 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)


def test_the_splits_share_no_picture_and_leave_none_out(digits: dict[str, ImageDataset]) -> None:
    images = torch.cat([split.images for split in digits.values()])
    # No two of the 1,797 are alike, so as many different ones mean that all are there, each once.
    assert len(torch.unique(images.flatten(1), dim=0)) == 1797


def test_each_picture_keeps_its_label_and_its_way_up(digits: dict[str, ImageDataset]) -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    enlarged = [
        np.asarray(Image.fromarray(small.astype(np.float32)).resize((28, 28), Image.BILINEAR))
        for small in original.images * (255 / 16)
    ]
    enlarged = torch.from_numpy(np.stack(enlarged)).flatten(1)
    for split in digits.values():
        distance, nearest = torch.cdist(split.images.flatten(1).float(), enlarged).min(dim=1)
        assert distance.max() < 28  # no pixel is off by more than its rounding
        assert torch.equal(split.labels, torch.from_numpy(original.target)[nearest])


def test_the_split_depends_on_no_seed_and_draws_from_no_generator(
    digits: dict[str, ImageDataset],
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = load("digits", "elsewhere")
    assert all(torch.equal(again[name].images, digits[name].images) for name in digits)
    assert torch.equal(torch.get_rng_state(), state)


def test_mean_and_std_of_the_digits_are_those_of_the_training_pixels(
    digits: dict[str, ImageDataset],
) -> None:
    pixels = digits["train"].images.double() / 255
    assert round(pixels.mean().item(), 4) == DATASETS["digits"].mean
    assert round(pixels.std(correction=0).item(), 4) == DATASETS["digits"].std


def test_the_digits_need_neither_a_folder_nor_a_network(no_network: None) -> None:
    prepare("digits", "missing")
    load("digits", "missing")
    assert not Path("missing").exists()


# From pictures to batches


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_batch_is_bit_for_bit_what_torchvision_normalises_one_by_one(dataset: str) -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    info = DATASETS[dataset]
    images = torch.arange(28 * 28).remainder(256).to(torch.uint8).reshape(1, 1, 28, 28)
    images = torch.cat([images, images.flip(3), 255 - images])
    batch, _ = ImageDataset(images, torch.zeros(3), info.mean, info.std).__getitems__([0, 1, 2])
    transform = Compose([ToTensor(), Normalize((info.mean,), (info.std,))])
    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.stack([transform(image[0].numpy()) for image in images]))


def test_a_batch_is_the_samples_stacked(digits: dict[str, ImageDataset]) -> None:
    indices = [5, 0, 5, 1256]
    images, labels = digits["train"].__getitems__(indices)
    samples = [digits["train"][index] for index in indices]
    assert torch.equal(images, torch.stack([image for image, _ in samples]))
    assert torch.equal(labels, torch.stack([label for _, label in samples]))


def test_taking_a_batch_leaves_the_pictures_as_they_are(digits: dict[str, ImageDataset]) -> None:
    before = digits["val"].images.clone()
    first = digits["val"].__getitems__([0])[0]
    first.zero_()
    assert torch.equal(digits["val"].images, before)


# Which dataset the files are


@pytest.mark.fault("a damaged or wrong data file", kind="data")
def test_mnist_is_not_taken_for_fashion_mnist(small_mnist: Path) -> None:
    # The same names and the same shapes: only the sums tell them apart.
    with pytest.raises(RunError, match="not the original file of fashion-mnist"):
        load("fashion-mnist", small_mnist)


def test_the_original_mnist_is_not_taken_for_fashion_mnist(real_mnist: Path) -> None:
    with pytest.raises(RunError, match="not the original file of fashion-mnist"):
        load("fashion-mnist", real_mnist)


def test_the_original_mnist_has_the_mean_and_std_that_everybody_uses(real_mnist: Path) -> None:
    splits = load("mnist", real_mnist)
    assert {n: len(s) for n, s in splits.items()} == {"train": 55000, "val": 5000, "test": 10000}
    images = torch.cat([splits["train"].images, splits["val"].images]).float() / 255
    assert round(images.mean().item(), 4) == DATASETS["mnist"].mean
    assert round(images.std().item(), 4) == DATASETS["mnist"].std


# A folder that holds the files is used as it is


def as_given(folder: Path, files: dict[str, bytes]) -> None:
    write_files(folder, files)


def as_torchvision_packs(folder: Path, files: dict[str, bytes]) -> None:
    write_files(folder / "MNIST" / "raw", files)


def as_torchvision_unpacks(folder: Path, files: dict[str, bytes]) -> None:
    unpacked = {name.removesuffix(".gz"): gzip.decompress(c) for name, c in files.items()}
    write_files(folder / "MNIST" / "raw", unpacked)


def as_torchvision_leaves_it(folder: Path, files: dict[str, bytes]) -> None:
    unpacked = {name.removesuffix(".gz"): gzip.decompress(c) for name, c in files.items()}
    write_files(folder / "MNIST" / "raw", {**files, **unpacked})


def as_unpacked(folder: Path, files: dict[str, bytes]) -> None:
    write_files(folder, {name.removesuffix(".gz"): gzip.decompress(c) for name, c in files.items()})


def as_a_mixture(folder: Path, files: dict[str, bytes]) -> None:
    write_files(folder, files)
    path = folder / f"{LABELS}.gz"
    (folder / LABELS).write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


LAYOUTS = [
    as_given,
    as_torchvision_packs,
    as_torchvision_unpacks,
    as_torchvision_leaves_it,
    as_unpacked,
    as_a_mixture,
]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_folder_with_the_files_is_used_as_it_is_without_a_network(
    layout: Callable[[Path, dict[str, bytes]], None],
    small_files: dict[str, bytes],
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    no_network: None,
) -> None:
    expect_sums_of(small_files, monkeypatch)
    folder = Path("my data ё")
    layout(folder, small_files)
    before = listing(folder)
    prepare("mnist", folder)
    splits = load("mnist", folder)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 220,
        "val": 20,
        "test": 60,
    }
    assert torch.equal(splits["test"].images[:, 0], torch.from_numpy(small_arrays[TEST_IMAGES]))
    assert torch.equal(splits["test"].labels, torch.from_numpy(small_arrays[TEST_LABELS]).long())
    assert listing(folder) == before


def test_validation_takes_a_twelfth_of_the_training_pictures_and_no_other(
    small_mnist: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    splits = load("mnist", small_mnist)
    parts = torch.cat([splits["train"].images, splits["val"].images])[:, 0].flatten(1)
    original = torch.from_numpy(small_arrays[IMAGES]).flatten(1)
    assert len(parts) == len(original)
    assert torch.equal(torch.unique(parts, dim=0), torch.unique(original, dim=0))


def test_training_on_a_folder_of_files_gives_both_sides_the_same_weights(
    small_mnist: Path, fit: Callable[..., dict], no_network: None
) -> None:
    options = dict(dataset="mnist", data_dir=str(small_mnist))
    raw, lightning = (fit(side, **options) for side in ("raw_pytorch", "lightning"))
    assert raw["train_images"] == 220
    assert raw["weights_sha256"] == lightning["weights_sha256"]
