"""The IDX format of the MNIST site, and the four files in it that make a dataset."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import torch
from torch import Tensor

from shared.errors import RunError, counted, in_one_line

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def find_files(folder: Path) -> dict[tuple[str, str], Path] | None:
    """The four files by split and kind, if the folder holds them all, packed or not."""
    found = {}
    for key, stem in FILES.items():
        # The packed one first: its checksum is known.
        paths = [path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()]
        if not paths:
            return None
        found[key] = paths[0]
    return found


def read_idx_pairs(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The images and labels of `train` and `test`, checked against each other.

    Returns:
        For each split, uint8 [N, 1, 28, 28] and int64 [N].

    Raises:
        RunError: a file is missing, damaged, swapped, or does not fit its partner.
    """
    files = find_files(folder)
    if files is None:
        raise RunError(f"{folder}: does not hold all of {', '.join(FILES.values())}")
    splits = {}
    for split in ("train", "test"):
        images_path, labels_path = files[split, "images"], files[split, "labels"]
        images, labels = read_idx(images_path, dims=3), read_idx(labels_path, dims=1)
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
        if labels.max() > 9:
            raise RunError(f"{labels_path}: holds the label {labels.max()}; expected 0 to 9")
        splits[split] = images.unsqueeze(1), labels.long()
    return splits


def read_idx(path: Path, dims: int) -> Tensor:
    """Read a file of unsigned bytes in the IDX format of the MNIST site, packed with gzip or not.

    Format: two zero bytes, the type (8, unsigned byte), the number of dimensions, each dimension as
    a big-endian 32-bit number, then the values.

    Raises:
        RunError: the file does not hold exactly that.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise RunError(f"{path}: damaged ({in_one_line(error)}); delete it and run again") from None
    magic = bytes([0, 0, 8, dims])
    if data[:4] != magic:
        kind, start = "pictures" if dims == 3 else "labels", data[:4].hex() or "nothing"
        raise RunError(f"{path}: starts with {start}; IDX {kind} start with {magic.hex()}")
    header = 4 + 4 * dims
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    count = torch.Size(shape).numel()
    if len(data) != header + count:
        raise RunError(
            f"{path}: holds {counted(len(data), 'byte')}, and its header says {header + count}; "
            f"delete it and run again"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[header:].reshape(shape)
