"""From files to batches: a LightningDataModule."""

from __future__ import annotations

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from shared import data


class ImageData(pl.LightningDataModule):
    """The three splits of a dataset and their loaders."""

    def __init__(
        self, dataset: str, data_dir: str, batch_size: int, seed: int, num_workers: int
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def prepare_data(self) -> None:
        # [data] The Trainer calls this in one process of each machine, while the others wait.
        data.prepare(self.hparams.dataset, self.hparams.data_dir)

    def setup(self, stage: str) -> None:
        # [data] The Trainer calls this in every process, before each of fit, test and predict.
        if not hasattr(self, "splits"):
            self.splits = data.load(self.hparams.dataset, self.hparams.data_dir)

    def batches(self) -> int:
        return len(self.train_dataloader())

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> DataLoader:
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        return data.make_loader(
            self.splits[split],
            self.hparams.batch_size,
            seed=self.hparams.seed,
            shuffle=shuffle,
            num_workers=self.hparams.num_workers,
            # [device] The accelerator copies from pinned memory while it computes.
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )
