"""A person's own pictures, made to look like those of a dataset: what is drawn is found on its
paper (`ink`), and fitted as the dataset fits it (`fit`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader

from shared.config import Config
from shared.data import DATASETS, ImageDataset, collate, scale
from shared.data.images import grey, open_picture, square
from shared.errors import RunError
from shared.pictures.fit import prepare


def make_loader(
    config: Config, files: Sequence[str]
) -> tuple[DataLoader[tuple[torch.Tensor, torch.Tensor]], list[str], list[str]]:
    """The pictures in `files` as batches of a loader, with labels of 0 that nobody looks at.

    A file with several digits, or characters, on it gives as many pictures, from left to right.

    Returns:
        The loader; what each of its pictures shows, in its order: a file, or a digit of a file; and
        a line on each of the files that cannot be answered for.

    Raises:
        RunError: none of the files can be.
    """
    pictures, shown, problems = [], [], []
    for file in files:
        try:
            found = _read(config, file)
        except RunError as error:
            problems.append(f"--images: {error}")
            continue
        pictures += found
        count = len(found)
        shown += [file] if count == 1 else [f"{file}, {i + 1} of {count}" for i in range(count)]
        if count > 1:
            print(f"several digits found, answered from left to right: {file}")
    if not pictures:
        raise RunError("; ".join(problems))
    info = DATASETS[config.dataset]
    images = torch.stack(pictures)
    data = ImageDataset(images, torch.zeros(len(images), dtype=torch.int64), info.mean, info.std)
    return DataLoader(data, batch_size=config.batch_size, collate_fn=collate), shown, problems


def _read(config: Config, file: str) -> list[torch.Tensor]:
    """uint8 [C, size, size] for each thing that is drawn.

    Raises:
        RunError: the file cannot be read, or nothing is drawn on it.
    """
    size = config.image_size
    picture = open_picture(file)
    if config.dataset == "folder":  # as it was trained on: the whole picture
        return [torch.from_numpy(square(picture, size)).permute(2, 0, 1)]
    found = prepare(config.dataset, grey(picture))
    if not found:
        raise RunError(f"no {_thing(config.dataset)} found on {file}: nothing is drawn on it")
    return list(scale(torch.stack([torch.from_numpy(pixels)[None] for pixels in found]), size))


def _thing(dataset: str) -> str:
    return {"fashion-mnist": "clothes", "kmnist": "character"}.get(
        dataset, "character" if dataset.startswith("emnist") else "digit"
    )
