"""A folder of your own pictures, in the layout of torchvision's `ImageFolder`: a folder for each
class, or `train`, `val` and `test` with such folders.

All pictures are read once, made square and kept in `runs/.pictures`, from where they come the next
time; a picture that was added, removed or changed since is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared.data.images import SUFFIXES, open_picture, square
from shared.errors import RunError, counted
from shared.files import RUNS, write_atomically

CACHE = RUNS / ".pictures"

# What the folder of a split may be called.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

# Of what was not divided, one in ten pictures of each class for validation, and one for the test.
LEAST = 10

# Pictures that a line names before it counts the others.
NAMED = 3


class Picture(NamedTuple):
    split: str
    label: int
    path: Path


def find_classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes, sorted.

    Raises:
        RunError: there are no folders of pictures, or only one.
    """
    if not folder.is_dir():
        raise RunError(f"--data_dir: no folder {folder}")
    names = tuple(path.name for path in _folders(_split_folders(folder)["train"]))
    if len(names) < 2:
        found = f"only the folder {names[0]}" if names else "no folders"
        raise RunError(
            f"--data_dir: {folder} holds {found}; expected a folder of pictures for each class, or "
            "train, val and test with such folders"
        )
    return names


def is_folder_of_pictures(folder: Path) -> bool:
    """Whether there are at least two folders with a picture in them."""
    folders = _folders(_split_folders(folder)["train"])
    return sum(next(_pictures_in(path), None) is not None for path in folders[:20]) >= 2


def load_folder(folder: Path, size: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The pictures and labels of `train`, `val` and `test`.

    Returns:
        For each split, uint8 [N, 3, size, size] and int64 [N].

    Raises:
        RunError: a picture cannot be read, a class has none, or there are too few.
    """
    pictures = _find(folder, find_classes(folder))
    pixels = _read_all(folder, [picture.path for picture in pictures], size)
    labels = torch.tensor([picture.label for picture in pictures])
    splits = {}
    for split in SPLITS:
        places = torch.tensor([i for i, p in enumerate(pictures) if p.split == split])
        if len(places) == 0:
            raise RunError(
                f"--data_dir: {folder} leaves no pictures for {split}; at least {LEAST} are needed"
            )
        splits[split] = pixels[places], labels[places]
    return splits


def _find(folder: Path, classes: tuple[str, ...]) -> list[Picture]:
    """All pictures in a fixed order, divided where the folder does not divide them."""
    pictures = []
    given = {split: path for split, path in _split_folders(folder).items() if path.is_dir()}
    for split, path in given.items():
        for below in _folders(path):
            if below.name not in classes:
                raise RunError(
                    f"--data_dir: {below}: no class of this name among those in {given['train']}"
                )
        for label, name in enumerate(classes):
            found = sorted(_pictures_in(path / name))
            if not found and split == "train":
                raise RunError(f"--data_dir: {path / name} holds no pictures")
            pictures += [Picture(split, label, file) for file in found]
    missing = [split for split in SPLITS if split not in given]
    return _divide(pictures, missing) if missing else pictures


def _divide(pictures: list[Picture], missing: list[str]) -> list[Picture]:
    """Draw a tenth of the training pictures for each split that is missing, from every class as
    many as it has its share of, in an order that depends on their number alone."""
    train = [i for i, picture in enumerate(pictures) if picture.split == "train"]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    order.sort(key=lambda i: pictures[train[i]].label)  # stable: shuffled within each class
    for place, i in enumerate(order):
        for split, turn in zip(missing, (4, 9), strict=False):
            if place % LEAST == turn:
                pictures[train[i]] = pictures[train[i]]._replace(split=split)
    return pictures


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split; of `train`, the whole folder where it is not divided."""
    found = {}
    for split, names in SPLITS.items():
        there = [folder / name for name in names if _folders(folder / name)]
        found[split] = there[0] if there else folder / names[0]
    undivided = not _folders(found["train"])
    return {"train": folder} if undivided else found


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(NotADirectoryError, FileNotFoundError), os.scandir(folder) as entries:
        return sorted(Path(e) for e in entries if not e.name.startswith(".") and e.is_dir())
    return []


def _pictures_in(folder: Path) -> Iterator[Path]:
    for where, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(where, name)


def _read_all(folder: Path, paths: list[Path], size: int) -> Tensor:
    """Read the pictures, or what was kept of them: uint8 [N, 3, size, size]."""
    state = hashlib.sha256(f"1 {size}".encode())
    for path in paths:
        status = path.stat()
        state.update(os.fsencode(path.relative_to(folder)))
        state.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    where = hashlib.sha256(os.fsencode(folder.resolve()) + f" {size}".encode()).hexdigest()[:16]
    kept = CACHE / f"{where}.npz"
    # zipfile, which reads it, holds every part against its sum: a damaged file is read no further.
    with contextlib.suppress(Exception), np.load(kept, allow_pickle=False) as parts:
        if str(parts["state"]) == state.hexdigest():
            return torch.from_numpy(parts["pixels"])
    pixels = _read(paths, size)
    buffer = io.BytesIO()
    np.savez(buffer, state=state.hexdigest(), pixels=pixels)
    with contextlib.suppress(OSError):  # a full disk, or one that cannot be written to
        CACHE.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, buffer.getvalue())
    return torch.from_numpy(pixels)


def _read(paths: list[Path], size: int) -> np.ndarray:
    from tqdm import tqdm

    pixels = np.empty((len(paths), 3, size, size), dtype=np.uint8)
    problems = []
    shown = tqdm(paths, desc="reading", unit=" pictures", disable=not sys.stderr.isatty())
    for place, path in enumerate(shown):
        try:
            picture = open_picture(path, at_least=size)
            pixels[place] = square(picture, size).transpose(2, 0, 1)
        except RunError as error:
            problems.append(str(error))
    if problems:
        rest = len(problems) - NAMED
        more = f"; and {counted(rest, 'picture')} more" if rest > 0 else ""
        raise RunError(f"--data_dir: {'; '.join(problems[:NAMED])}{more}")
    return pixels
