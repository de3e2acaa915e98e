"""The data: what it is (`datasets`), in which order it is visited (`loaders`), and how its files
are found and read (`idx`, `folder`) and fetched (`download`)."""

from shared.data.datasets import (
    DATASETS,
    DatasetInfo,
    ImageDataset,
    describe,
    find_folder,
    load,
    prepare,
    scale,
)
from shared.data.loaders import ResumableLoader, collate, make_eval_loader, make_train_loader

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "ImageDataset",
    "ResumableLoader",
    "collate",
    "describe",
    "find_folder",
    "load",
    "make_eval_loader",
    "make_train_loader",
    "prepare",
    "scale",
]
