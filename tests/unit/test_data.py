"""What the data is, where it comes from, and what is said when it is not what it should be."""

from __future__ import annotations

import gzip
import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Mirror, Outcome, expect_sums_of, idx, wait_for, write_files
from PIL import Image
from torch import Tensor

from shared.data import (
    DATASETS,
    ImageDataset,
    ResumableLoader,
    download,
    load,
    make_loader,
    prepare,
)
from shared.data.idx import FILES, read_idx
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


# The order of an epoch, and resuming within it


def train_loader(num_workers: int = 0, seed: int = 3) -> ResumableLoader:
    # Each picture holds its own number, so a batch says which pictures it has.
    images = torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1).expand(50, 1, 28, 28)
    dataset = ImageDataset(images, torch.arange(50), mean=0.0, std=1.0)
    return make_loader(dataset, 8, seed=seed, shuffle=True, num_workers=num_workers)


def epoch_of(loader: ResumableLoader, epoch: int) -> list[list[int]]:
    loader.sampler.set_epoch(epoch)
    return [labels.tolist() for _, labels in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_visits_every_picture_once_in_an_order_of_its_own(num_workers: int) -> None:
    loader = train_loader(num_workers)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [8] * 6 + [2]
        assert sorted(chain(*batches)) == list(range(50))
    assert first != second
    assert list(chain(*first)) != list(range(50))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_order_follows_from_seed_and_epoch_alone(num_workers: int) -> None:
    expected = epoch_of(train_loader(), 4)
    torch.manual_seed(99)
    loader = train_loader(num_workers)
    epoch_of(loader, 1)
    assert epoch_of(loader, 4) == expected
    assert epoch_of(train_loader(seed=4), 4) != expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_iterating_draws_nothing_from_the_global_generator(
    num_workers: int, shuffle: bool, digits: dict[str, ImageDataset]
) -> None:
    loader = make_loader(digits["val"], 64, seed=0, shuffle=shuffle, num_workers=num_workers)
    state = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), state)


def test_validation_keeps_its_order(digits: dict[str, ImageDataset]) -> None:
    loader = make_loader(digits["val"], 64, seed=0, shuffle=False)
    assert torch.equal(torch.cat([labels for _, labels in loader]), digits["val"].labels)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 6])
def test_a_loader_goes_on_at_the_very_next_batch(done: int, num_workers: int) -> None:
    expected = epoch_of(train_loader(), 2)
    stopped = train_loader(num_workers)
    stopped.sampler.set_epoch(2)
    batches = iter(stopped)
    seen = [next(batches)[1].tolist() for _ in range(done)]
    state = stopped.state_dict()

    resumed = train_loader(num_workers)
    resumed.load_state_dict(state)
    seen += [labels.tolist() for _, labels in resumed]
    assert seen == expected
    # The epoch that follows starts at its first batch again.
    assert epoch_of(resumed, 3) == epoch_of(train_loader(), 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_at_an_epochs_end_the_place_is_the_start_of_the_next(num_workers: int) -> None:
    loader = train_loader(num_workers)
    epoch_of(loader, 2)
    assert loader.state_dict() == {"epoch": 3, "batch_idx": 0, "world_size": 1}
    resumed = train_loader(num_workers)
    resumed.load_state_dict(loader.state_dict())
    assert [labels.tolist() for _, labels in resumed] == epoch_of(train_loader(), 3)


# The files: all that may be wrong with one of them


def idx_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.gz"


def rewrite(folder: Path, name: str, content: bytes) -> None:
    idx_file(folder, name).write_bytes(gzip.compress(content))


def cut(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    path = idx_file(folder, IMAGES)
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    idx_file(folder, IMAGES).write_bytes(b"")


def flip_a_bit(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    content = bytearray(idx_file(folder, IMAGES).read_bytes())
    content[len(content) // 2] ^= 16
    idx_file(folder, IMAGES).write_bytes(content)


def no_gzip(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    idx_file(folder, IMAGES).write_bytes(b"<html>404</html>")


def swap(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[LABELS]))
    rewrite(folder, LABELS, idx(arrays[IMAGES]))


def packed_cut(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:-1])


def packed_longer(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES]) + b"\0")


def packed_nothing(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, b"")


def header_only(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:9])


def other_type(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, b"\0\0\x0d\x03" + idx(arrays[IMAGES])[4:])


def huge_count(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:4] + b"\xff" * 12 + b"\0" * 100)


def other_size(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES][:, :27]))


def a_label_less(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, LABELS, idx(arrays[LABELS][:-1]))


def label_10(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, LABELS, idx(np.append(arrays[LABELS][:-1], 10)))


def no_labels(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES][:0]))
    rewrite(folder, LABELS, idx(arrays[LABELS][:0]))


DAMAGES = {
    cut: (IMAGES, "damaged (Compressed file ended before"),
    empty: (IMAGES, "starts with nothing; IDX pictures start with 00000803"),
    flip_a_bit: (IMAGES, "damaged ("),
    no_gzip: (IMAGES, "damaged (Not a gzipped file"),
    swap: (IMAGES, "starts with 00000801; IDX pictures start with 00000803"),
    packed_cut: (IMAGES, "holds 188175 bytes, and its header says 188176"),
    packed_longer: (IMAGES, "holds 188177 bytes, and its header says 188176"),
    packed_nothing: (IMAGES, "starts with nothing"),
    header_only: (IMAGES, "holds 9 bytes, and its header says "),
    other_type: (IMAGES, "starts with 00000d03; IDX pictures start with 00000803"),
    huge_count: (IMAGES, "holds 116 bytes, and its header says "),
    other_size: (IMAGES, "holds pictures of 27×28 pixels; expected 28×28"),
    a_label_less: (LABELS, f"holds 239 labels for 240 pictures in {IMAGES}.gz"),
    label_10: (LABELS, "holds the label 10; expected 0 to 9"),
    no_labels: (LABELS, "holds 0 labels; too few to train on"),
}


@pytest.mark.fault("a damaged or wrong data file", kind="data")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_wrong_file_is_named_with_what_is_wrong(
    damage: Callable[[Path, dict], None],
    small_mnist: Path,
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(small_mnist, small_arrays)
    # The sums are looked at first: here they fit, as if torchvision knew these very files.
    files = {f"{stem}.gz": idx_file(small_mnist, stem).read_bytes() for stem in FILES.values()}
    expect_sums_of(files, monkeypatch)
    name, problem = DAMAGES[damage]
    with pytest.raises(RunError) as error:
        load("mnist", small_mnist)
    assert str(error.value).startswith(f"{idx_file(small_mnist, name)}: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.fault("a damaged or wrong data file", kind="data")
@pytest.mark.parametrize("stem", FILES.values())
def test_a_file_that_is_not_the_original_is_refused_by_its_sum(
    stem: str, small_mnist: Path
) -> None:
    path = idx_file(small_mnist, stem)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="not the original file of mnist") as error:
        load("mnist", small_mnist)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.fault("a damaged or wrong data file", kind="data")
def test_a_damaged_file_ends_training_in_one_line_and_leaves_no_summary(
    side: str,
    small_mnist: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    idx_file(small_mnist, TEST_LABELS).write_bytes(b"")
    done = command(
        side, "train", "--dataset", "mnist", "--data_dir", small_mnist, "--accelerator", "cpu"
    )
    assert (done.status, done.out) == (1, "")
    one_line(done.err, idx_file(small_mnist, TEST_LABELS), "MD5 differs")
    fault.sees(done.err)
    assert not list(Path().rglob("*.ckpt"))
    assert not list(Path().rglob("summary.json"))


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


# Downloads, from servers on this machine


def left_over(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def test_what_is_missing_is_downloaded_once(mirror: Mirror, small_files: dict[str, bytes]) -> None:
    prepare("mnist", "new/data")
    raw = Path("new/data/MNIST/raw")
    assert {path.name: path.read_bytes() for path in raw.glob("*.gz")} == small_files
    assert [path.name for path in Path("new/data").iterdir()] == ["MNIST"]
    asked = len(mirror.requests)
    assert asked >= 4
    prepare("mnist", "new/data")
    assert len(mirror.requests) == asked
    assert len(load("mnist", "new/data")["test"]) == 60


def test_the_original_files_pass_the_sums_that_torchvision_holds(
    real_mnist: Path, mirrors: Callable[[], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    mirror = mirrors()
    mirror.files = {path.name: path.read_bytes() for path in real_mnist.glob("*.gz")}
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url])
    prepare("mnist", "data")
    assert len(load("mnist", "data")["train"]) == 55000


def test_a_run_downloads_and_says_nothing_of_it(
    side: str, mirror: Mirror, command: Callable[..., Outcome]
) -> None:
    done = command(side, "train", "--dataset", "mnist", "--max_epochs", "1", "--accelerator", "cpu")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("dataset       mnist, 220 training images")
    assert len(done.out.splitlines()) == 8
    assert Path("data/MNIST/raw", f"{IMAGES}.gz").is_file()


def test_on_a_terminal_a_download_shows_its_progress(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare("mnist", "data")
    assert "100%" in capsys.readouterr().err


FAILURES = {
    "truncate": "cut off after",
    "corrupt": "wrong checksum",
    "503": "HTTP Error 503",
    "404": "HTTP Error 404",
    "redirect": "redirect",
    "close": "closed connection without response",
    "stall": "too slow: ",
    "drip": "too slow: ",
    "drip headers": "too slow: 0 bytes",
    "endless": "and no end",
}


def in_haste(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what never ends is given up soon, and nothing else is."""
    slow = behaviour in ("stall", "drip", "drip headers")
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 0.4 if slow else 30)
    monkeypatch.setattr(download, "DOWNLOAD_MOST", 1_000_000)


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("only", [f"{IMAGES}.gz", f"{TEST_LABELS}.gz"], ids=["first", "last"])
@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_download_that_fails_leaves_nothing_and_a_second_one_succeeds(
    behaviour: str, only: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste(behaviour, monkeypatch)
    mirror.behaviour, mirror.only = behaviour, only
    with pytest.raises(RunError, match="--dataset mnist: the download failed") as error:
        prepare("mnist", "data")
    assert FAILURES[behaviour] in str(error.value)
    assert only in str(error.value)
    assert "give --data_dir a folder with the four original .gz files" in str(error.value)
    assert "\n" not in str(error.value)
    assert left_over(Path("data")) == []
    with pytest.raises(RunError, match="no mnist files in data"):
        load("mnist", "data")

    mirror.behaviour = None
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 30)
    prepare("mnist", "data")
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", FAILURES)
def test_when_the_first_mirror_fails_the_second_is_asked(
    behaviour: str,
    mirror: Mirror,
    mirrors: Callable[[], Mirror],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torchvision.datasets

    in_haste(behaviour, monkeypatch)
    second = mirrors()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url, second.url])
    mirror.behaviour, mirror.only = behaviour, f"{LABELS}.gz"
    prepare("mnist", "data")
    assert set(second.requests) == {f"{LABELS}.gz"}
    assert len(load("mnist", "data")["test"]) == 60
    assert capsys.readouterr() == ("", "")


# How often a mirror is asked: what may pass is tried three times, anything else once.
ASKED = {"503": 3, "close": 3, "truncate": 3, "404": 1, "corrupt": 1, "stall": 1, "drip": 1}


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", ASKED)
def test_only_what_may_pass_is_asked_for_again(
    behaviour: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste(behaviour, monkeypatch)
    mirror.behaviour = behaviour
    with pytest.raises(RunError, match="the download failed"):
        prepare("mnist", "data")
    assert mirror.requests == [f"{IMAGES}.gz"] * ASKED[behaviour]


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", ["503", "close", "truncate"])
def test_a_mirror_that_answers_after_two_failures_is_waited_for_longer_each_time(
    behaviour: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download, "DOWNLOAD_RETRIES", (1.0, 4.0))
    monkeypatch.setattr(download.time, "sleep", waits.append)
    mirror.behaviour, mirror.only, mirror.times = behaviour, f"{LABELS}.gz", 2
    prepare("mnist", "data")
    assert [seconds for seconds in waits if seconds] == [1.0, 4.0]
    assert len(load("mnist", "data")["test"]) == 60


def test_a_slow_download_that_goes_on_is_not_given_up(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste("drip", monkeypatch)
    monkeypatch.setattr(download, "DOWNLOAD_LEAST", 5)
    mirror.behaviour, mirror.only = "drip", f"{IMAGES}.gz"
    # A byte each 20 ms, three times as long as it may stand still; then the rest, which is wrong.
    threading.Timer(1.2, mirror.closing.set).start()
    with pytest.raises(RunError, match="wrong checksum"):
        prepare("mnist", "data")


def test_when_all_mirrors_fail_each_is_named_with_its_reason(
    mirror: Mirror, mirrors: Callable[[], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    second = mirrors()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url, second.url])
    mirror.behaviour, second.behaviour = "503", "corrupt"
    with pytest.raises(RunError) as error:
        prepare("mnist", "data")
    assert f"{mirror.url}{IMAGES}.gz: HTTP Error 503" in str(error.value)
    assert f"{second.url}{IMAGES}.gz: wrong checksum" in str(error.value)


@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_failed_download_ends_a_run_in_one_line(
    side: str,
    mirror: Mirror,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    mirror.behaviour = "503"
    done = command(side, "train", "--dataset", "mnist", "--accelerator", "cpu")
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "--dataset mnist: the download failed", "HTTP Error 503", "--data_dir")
    fault.sees(done.err.replace(mirror.url, "http://mirror/"))


@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_machine_without_a_network_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(RunError, match=r"name resolution.*--data_dir a folder"):
        prepare("fashion-mnist", "data")
    assert left_over(Path("data")) == []


def test_the_timeout_of_the_process_is_put_back(mirror: Mirror) -> None:
    socket.setdefaulttimeout(123.0)
    prepare("mnist", "data")
    assert socket.getdefaulttimeout() == 123.0


@pytest.mark.fault("a damaged or wrong data file", kind="data")
def test_half_a_dataset_is_neither_mended_nor_trusted(
    mirror: Mirror, small_files: dict[str, bytes]
) -> None:
    write_files(Path("data/MNIST/raw"), {f"{IMAGES}.gz": small_files[f"{IMAGES}.gz"]})
    before = left_over(Path("data"))
    with pytest.raises(RunError, match="not a complete mnist dataset; delete it to download again"):
        prepare("mnist", "data")
    assert left_over(Path("data")) == before
    assert mirror.requests == []


def test_two_downloads_at_once_both_end_well(mirror: Mirror) -> None:
    errors = []

    def download() -> None:
        try:
            prepare("mnist", "data")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in Path("data").iterdir()] == ["MNIST"]
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_download_that_is_killed_leaves_nothing_that_is_trusted(mirror: Mirror) -> None:
    mirror.behaviour, mirror.only = "stall", f"{TEST_IMAGES}.gz"
    # In a process of its own, which is told where the server is.
    code = (
        "import torchvision.datasets as d; from shared.data import prepare; "
        f"d.MNIST.mirrors = [{mirror.url!r}]; "
        f"d.MNIST.resources = {importlib.import_module('torchvision.datasets').MNIST.resources!r}; "
        "prepare('mnist', 'data')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        wait_for(mirror.stalled.is_set)
        assert left_over(Path("data")), "the download should be half done"
    finally:
        process.kill()
        process.wait()
    assert not Path("data/MNIST").exists()
    with pytest.raises(RunError, match="no mnist files"):
        load("mnist", "data")

    mirror.behaviour = None
    prepare("mnist", "data")
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.parametrize("data_dir", ["file", "file/below"])
def test_a_data_dir_that_is_no_folder_is_named(
    data_dir: str, mirror: Mirror, command: Callable[..., Outcome], one_line: Callable[..., None]
) -> None:
    Path("file").write_text("a file")
    done = command("raw_pytorch", "train", "--dataset", "mnist", "--data_dir", data_dir)
    assert done.status == 1
    one_line(done.err, f"{data_dir}: ")
    assert mirror.requests == []


def test_read_idx_gives_what_was_written() -> None:
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    for path, content in (("a", idx(values)), ("a.gz", gzip.compress(idx(values)))):
        Path(path).write_bytes(content)
        read: Tensor = read_idx(Path(path), dims=3)
        assert read.tolist() == values.tolist()
