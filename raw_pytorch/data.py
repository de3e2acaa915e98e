"""From files to batches: a plain class."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from raw_pytorch import distributed
from shared import data, ranks


class ImageData:
    """The three splits of a dataset and their loaders."""

    def __init__(
        self,
        dataset: str,
        data_dir: str,
        image_size: int,
        batch_size: int,
        seed: int,
        num_workers: int,
        device: torch.device,
    ) -> None:
        self.hparams = dict(
            dataset=dataset,
            data_dir=data_dir,
            image_size=image_size,
            batch_size=batch_size,
            seed=seed,
            num_workers=num_workers,
        )
        self.device = device

    def prepare_data(self) -> None:
        # [ddp] One process of each machine, while the others wait.
        if ranks.local_rank() == 0:
            data.prepare(
                self.hparams["dataset"], self.hparams["data_dir"], self.hparams["image_size"]
            )
        distributed.barrier()

    def setup(self) -> None:
        self.splits = data.load(
            self.hparams["dataset"], self.hparams["data_dir"], self.hparams["image_size"]
        )

    def train_dataloader(self) -> DataLoader:
        self.train_loader = self._loader("train", shuffle=True)
        return self.train_loader

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> DataLoader:
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        return data.make_loader(
            self.splits[split],
            self.hparams["batch_size"],
            seed=self.hparams["seed"],
            shuffle=shuffle,
            num_workers=self.hparams["num_workers"],
            # [device] On a GPU the data lies in its memory.
            device=self.device,
            # [ddp] Each process has a share of every split.
            num_replicas=distributed.world_size(),
            rank=distributed.rank(),
        )
