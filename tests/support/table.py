"""A task that is no picture: scikit-learn's wine, 13 columns to 3 classes, by a small network, on
both sides and without a change to either."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.data import DatasetInfo, ImageDataset

# One channel of one row: what the network sees is [B, 1, 1, 13].
INFO = DatasetInfo(("barolo", "grignolino", "barbera"), mean=0.0, std=1.0)
IN_SHAPE = [1, 1, 13]


class Table(ImageDataset):
    """Rows float32 [N, 1, 1, 13], standardised already."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        places = torch.tensor(indices, device=self.images.device)
        return self.images.index_select(0, places), self.labels.index_select(0, places)


def load(*_: object) -> dict[str, ImageDataset]:
    """In place of `shared.data.load`: 118, 30 and 30 wines in a fixed order."""
    from sklearn.datasets import load_wine

    wine = load_wine()
    rows = torch.from_numpy(wine.data).float()
    rows = ((rows - rows.mean(dim=0)) / rows.std(dim=0)).reshape(-1, *IN_SHAPE)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    parts = dict(zip(("train", "val", "test"), order.split([118, 30, 30]), strict=True))
    labels = torch.from_numpy(wine.target).long()
    return {
        split: Table(rows[part], labels[part], INFO.mean, INFO.std, INFO.classes)
        for split, part in parts.items()
    }


class MLP(nn.Sequential):
    """`--model table.py:MLP`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, num_classes))
