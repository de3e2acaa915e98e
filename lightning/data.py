"""From files to batches: a LightningDataModule."""

from __future__ import annotations

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from shared import data


class ImageData(pl.LightningDataModule):
    """The three splits of a dataset and their loaders."""

    def __init__(
        self,
        dataset: str,
        data_dir: str,
        image_size: int,
        batch_size: int,
        seed: int,
        num_workers: int,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.place: dict[str, int] | None = None

    def prepare_data(self) -> None:
        # [data] The Trainer calls this in one process of each machine, while the others wait.
        data.prepare(self.hparams.dataset, self.hparams.data_dir, self.hparams.image_size)

    def setup(self, stage: str) -> None:
        # [data] The Trainer calls this in every process, before each of fit, test and predict.
        if not hasattr(self, "splits"):
            self.splits = data.load(
                self.hparams.dataset, self.hparams.data_dir, self.hparams.image_size
            )

    def state_dict(self) -> dict[str, int]:
        return self.train_loader.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state

    def train_dataloader(self) -> DataLoader:
        self.train_loader = self._loader("train", shuffle=True)
        # [resume] Lightning 2.6.6 hands a loader's state back within an epoch only; at its end, the
        # workers would begin with epoch 0 (Lightning-AI/pytorch-lightning#21938).
        if self.place is not None:
            self.train_loader.load_state_dict(self.place)
            self.place = None
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
            self.hparams.batch_size,
            seed=self.hparams.seed,
            shuffle=shuffle,
            num_workers=self.hparams.num_workers,
            # [device] On a GPU the data lies in its memory.
            device=self.trainer.strategy.root_device,
            # [ddp] Each process has a share of every split.
            num_replicas=self.trainer.world_size,
            rank=self.trainer.global_rank,
        )
