"""Two epochs of the digits, by Lightning."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet, make_optimizer


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(width=8)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        ...

    def configure_optimizers(self): ...


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)

module = Classifier()
trainer = pl.Trainer(
    accelerator="cpu",
    max_epochs=...,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(...)
