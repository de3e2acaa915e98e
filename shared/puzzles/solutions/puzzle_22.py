"""The best weights and the last ones in files of their own, and the best ones tested."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(width=8)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        logits = self.net(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log("val/loss", F.cross_entropy(logits, labels))
        self.log("val/accuracy", accuracy)

    def test_step(self, batch, batch_idx):
        images, labels = batch
        accuracy = (self.net(images).argmax(dim=1) == labels).float().mean()
        self.log("test/accuracy", accuracy)

    def configure_optimizers(self):
        # Too large a rate, so that the last epoch is not the best.
        return torch.optim.SGD(self.parameters(), lr=0.5)


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=128, collate_fn=tuple)
test_loader = DataLoader(splits["test"], batch_size=128, collate_fn=tuple)

module = Classifier()
trainer = pl.Trainer(
    accelerator="cpu",
    max_epochs=3,
    callbacks=[
        ModelCheckpoint("logs", "best", monitor="val/loss"),
        ModelCheckpoint("logs", "last"),
    ],
    logger=TensorBoardLogger("logs"),
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, train_loader, val_loader)
trainer.test(module, test_loader, verbose=False, ckpt_path="best", weights_only=True)
