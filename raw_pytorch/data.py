"""From files to batches."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from raw_pytorch import distributed
from shared import data, ranks


class ImageData:
    """The three splits of a dataset and their loaders. `loading` is batch_size, seed and
    num_workers."""

    def __init__(
        self,
        dataset: str,
        data_dir: str,
        image_size: int,
        device: torch.device,
        fast_dev_run: bool = False,
        **loading: Any,
    ) -> None:
        self.hparams = dict(dataset=dataset, data_dir=data_dir, image_size=image_size, **loading)
        self.source, self.loading = (dataset, data_dir, image_size), loading
        self.device = device
        self.limit_batches = 1 if fast_dev_run else None

    def prepare_data(self) -> None:
        if ranks.local_rank() == 0:  # [ddp] one process of each machine, while the others wait
            data.prepare(*self.source)
        distributed.barrier()

    def setup(self, stage: str) -> None:
        self.splits = data.load(*self.source)

    def train_dataloader(self) -> data.ResumableLoader:
        self.train_loader = data.make_train_loader(self.splits["train"], **self._options())
        return self.train_loader

    def val_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["val"], **self._options())

    def test_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["test"], **self._options())

    def predict_dataloader(self) -> DataLoader:
        return data.make_eval_loader(self.splits["test"], **self._options())

    def _options(self) -> dict[str, Any]:
        return dict(
            **self.loading,
            device=self.device,  # [device] on a GPU, data lies in its memory
            num_replicas=distributed.world_size(),  # [ddp] each process has a share of every split
            rank=distributed.rank(),
            limit_batches=self.limit_batches,
        )
