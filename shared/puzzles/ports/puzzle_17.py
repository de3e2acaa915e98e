"""The accuracy over all pictures of an epoch, in training and in validation."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet, make_optimizer


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(width=8)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits = self.net(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log("train/accuracy", accuracy)  # ... an argument or two are missing
        return F.cross_entropy(logits, labels)

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        logits = self.net(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        ...

    def configure_optimizers(self):
        return make_optimizer(self, lr=0.01, weight_decay=0.05)


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=128, collate_fn=tuple)

module = Classifier()
trainer = pl.Trainer(
    accelerator="cpu",
    max_epochs=2,
    logger=TensorBoardLogger("logs"),
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, train_loader, val_loader)
