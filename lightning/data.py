"""From files to batches."""

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from shared import data


class ImageData(pl.LightningDataModule):
    """The three splits of a dataset and their loaders. `loading` is batch_size, seed and
    num_workers."""

    def __init__(self, dataset: str, data_dir: str, image_size: int, **loading: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.source, self.loading = (dataset, data_dir, image_size), loading
        self.splits: dict[str, data.ImageDataset] = {}
        self.train_loader: data.ResumableLoader | None = None
        self.place: dict[str, int] | None = None

    def prepare_data(self) -> None:
        # [ddp] The Trainer calls this in one process of each machine, while the others wait.
        data.prepare(*self.source)

    def setup(self, stage: str) -> None:
        if not self.splits:  # [data] The Trainer calls this before each of fit, test and predict.
            self.splits = data.load(*self.source)

    def state_dict(self) -> dict[str, int]:
        if self.train_loader is None:  # [checkpoint] saved before training starts
            return {"epoch": 0, "batch_idx": 0, "world_size": self._options()["num_replicas"]}
        return self.train_loader.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state

    def train_dataloader(self) -> data.ResumableLoader:
        self.train_loader = data.make_train_loader(self.splits["train"], **self._options())
        # [resume] Lightning 2.6.6 hands a loader's state back within an epoch only; at its end, the
        # workers would begin with epoch 0 (Lightning-AI/pytorch-lightning#21938).
        if self.place is not None:
            self.train_loader.load_state_dict(self.place)
            self.place = None
        return self.train_loader

    def val_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["val"], **self._options())

    def test_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["test"], **self._options())

    def predict_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["test"], **self._options())

    def _options(self) -> dict[str, Any]:
        assert self.trainer is not None  # The Trainer asks for the loaders.
        return dict(
            **self.loading,
            device=self.trainer.strategy.root_device,  # [device] on a GPU, data lies in its memory
            num_replicas=self.trainer.world_size,  # [ddp] each process has a share of every split
            rank=self.trainer.global_rank,
        )
