"""The IDX format of the MNIST site, and the four files in it that make a dataset."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared.errors import RunError, counted, in_one_line

# The files of each dataset by split and kind, as their authors call them.
_MNIST = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_QMNIST = (
    "qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int",
)  # fmt: skip
_EMNIST = (
    "emnist-{}-train-images-idx3-ubyte", "emnist-{}-train-labels-idx1-ubyte",
    "emnist-{}-test-images-idx3-ubyte", "emnist-{}-test-labels-idx1-ubyte",
)  # fmt: skip
KEYS = (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels"))
FILES: dict[str, dict[tuple[str, str], str]] = {
    name: dict(zip(KEYS, stems, strict=True))
    for name, stems in {
        "mnist": _MNIST,
        "fashion-mnist": _MNIST,
        "kmnist": _MNIST,
        "qmnist": _QMNIST,
        "emnist-balanced": [stem.format("balanced") for stem in _EMNIST],
        "emnist-letters": [stem.format("letters") for stem in _EMNIST],
    }.items()
}

# What a folder of each dataset is called, in torchvision and elsewhere, in letters alone.
FOLDERS = {
    "mnist": ("mnist",),
    "fashion-mnist": ("fashionmnist", "fashion"),
    "kmnist": ("kmnist", "kuzushijimnist"),
    "qmnist": ("qmnist",),
    "emnist-balanced": ("emnist",),
    "emnist-letters": ("emnist",),
}

# How deep below --data_dir the files are looked for, and in how many folders at most.
DEPTH, MOST_FOLDERS = 4, 1000


def find_folder(name: str, data_dir: Path) -> Path | None:
    """The folder at or below data_dir, the nearest first, that holds all four files of a dataset,
    packed or not; None where there is none.

    A folder below that is named after another dataset is left out: the files of several have the
    same names.
    """
    folders = itertools.islice(_folders(name, data_dir), MOST_FOLDERS)
    return next((folder for folder in folders if find_files(name, folder)), None)


def _folders(name: str, data_dir: Path) -> Iterator[Path]:
    others = {word for words in FOLDERS.values() for word in words} - {*FOLDERS[name]}
    level = [data_dir]
    for _ in range(DEPTH):
        yield from level
        below = []
        for folder in level:
            for path in _listed(folder):
                letters = "".join(filter(str.isalpha, path.name.lower()))
                if not path.name.startswith(".") and letters not in others and path.is_dir():
                    below.append(path)
        level = below


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not a folder, or one that others may not read
        return []


def find_files(name: str, folder: Path) -> dict[tuple[str, str], Path] | None:
    """The four files by split and kind, if the folder holds them all, packed or not."""
    found = {}
    for key, stem in FILES[name].items():
        path = _find_file(stem, folder)
        if path is None:
            return None
        found[key] = path
    return found


def _find_file(stem: str, folder: Path) -> Path | None:
    """A file under the name its authors gave it, or with a dot as many mirrors have it, in the
    folder or, as some archives unpack, in a folder of the file's own name."""
    dotted = stem.replace("-idx", ".idx")
    # The packed one first: its checksum is known.
    names = [f"{stem}.gz", stem, f"{dotted}.gz", dotted]
    paths = [folder / name for name in names]
    paths += [folder / own / name for own, name in itertools.product((stem, dotted), names)]
    return next((path for path in paths if path.is_file()), None)


def read_idx_pairs(name: str, folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The images and labels of `train` and `test`, checked against each other.

    Returns:
        For each split, uint8 [N, 1, 28, 28] and int64 [N], as they stand in the files.

    Raises:
        RunError: a file is missing, damaged, swapped, or does not fit its partner.
    """
    files = find_files(name, folder)
    if files is None:
        raise RunError(f"{folder}: does not hold all of {', '.join(FILES[name].values())}")
    splits = {}
    for split in ("train", "test"):
        images_path, labels_path = files[split, "images"], files[split, "labels"]
        images = read_idx(images_path, dims=3)
        # QMNIST says more of each picture than its class, which comes first.
        is_table = "idx2" in FILES[name][split, "labels"]
        labels = read_idx(labels_path, dims=2)[:, 0] if is_table else read_idx(labels_path, dims=1)
        if images.shape[1:] != (28, 28):
            size = "×".join(map(str, images.shape[1:]))
            raise RunError(f"{images_path}: holds pictures of {size} pixels; expected 28×28")
        if len(images) != len(labels):
            raise RunError(
                f"{labels_path}: holds {counted(len(labels), 'label')} for "
                f"{counted(len(images), 'picture')} in {images_path.name}"
            )
        if len(labels) < 24:
            raise RunError(
                f"{labels_path}: holds {counted(len(labels), 'label')}; too few to train on"
            )
        splits[split] = images.unsqueeze(1), labels.long()
    return splits


def check_labels(
    name: str, folder: Path, splits: dict[str, tuple[Tensor, Tensor]], low: int, high: int
) -> None:
    """Look for labels of no class.

    Raises:
        RunError: there is one outside of `low` to `high`.
    """
    for split, (_, labels) in splits.items():
        for label in (int(labels.min()), int(labels.max())):
            if not low <= label <= high:
                path = _find_file(FILES[name][split, "labels"], folder)
                raise RunError(f"{path}: holds the label {label}; expected {low} to {high}")


def read_idx(path: Path, dims: int) -> Tensor:
    """Read a file in the IDX format of the MNIST site, packed with gzip or not.

    Format: two zero bytes, the type (8, unsigned byte; 12, big-endian integers of four bytes, in
    tables alone), the number of dimensions, each dimension as a big-endian 32-bit number, then the
    values.

    Returns:
        uint8, or int32 for a table (`dims` is 2).

    Raises:
        RunError: the file does not hold exactly that.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise RunError(f"{path}: damaged ({in_one_line(error)}); {ADVICE}") from None
    kind, size = (12, 4) if dims == 2 else (8, 1)
    magic = bytes([0, 0, kind, dims])
    if data[:4] != magic:
        what, start = "pictures" if dims == 3 else "labels", data[:4].hex() or "nothing"
        raise RunError(f"{path}: starts with {start}; IDX {what} start with {magic.hex()}")
    header = 4 + 4 * dims
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + size * torch.Size(shape).numel()
    if len(data) != expected:
        raise RunError(
            f"{path}: holds {counted(len(data), 'byte')}, and its header says {expected}; {ADVICE}"
        )
    values = np.frombuffer(data, dtype=np.uint8 if size == 1 else ">i4", offset=header)
    # A copy in the order of this machine's bytes, which may be written to.
    return torch.from_numpy(values.astype(np.uint8 if size == 1 else np.int32)).reshape(shape)


ADVICE = "give --data_dir a folder with a whole copy"
