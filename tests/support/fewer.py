"""Fewer pictures, for short runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.data import ImageDataset

Load = Callable[..., dict[str, ImageDataset]]


def fewer(load: Load, train: slice, others: slice | None = None) -> Load:
    """`load`, but of each split only this part is left.

    Args:
        others: the part of validation and test; that of training unless given.
    """

    def loaded(*args: Any) -> dict[str, ImageDataset]:
        splits = load(*args)
        for name, split in splits.items():
            part = train if name == "train" or others is None else others
            split.images, split.labels = split.images[part], split.labels[part]
        return splits

    return loaded
