"""Fewer pictures, for short runs, and fewer cases, for a short `make test`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

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


def few(cases: Iterable[Any], here: Collection[Any]) -> list[Any]:
    """The cases of a test: `make test` tries those in `here`, and `make test-long` the others."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in here else pytest.mark.long,
        )
        for case in cases
    ]
