"""One epoch, a checkpoint, and another epoch by a new Trainer, as if it had never stopped."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, DistributedSampler

from shared.data import load
from shared.model import ConvNet, make_optimizer


def loader_of(split):
    """Another order in each epoch, which follows from the number of the epoch."""
    sampler = DistributedSampler(split, num_replicas=1, rank=0, seed=0)
    return DataLoader(split, batch_size=128, sampler=sampler, collate_fn=tuple)


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(dropout=0.2, width=8)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def on_save_checkpoint(self, checkpoint): ...

    def on_load_checkpoint(self, checkpoint): ...

    def configure_optimizers(self):
        return make_optimizer(self, lr=0.01, weight_decay=0.05)


def trainer_of(max_epochs):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


torch.manual_seed(0)
train_loader = loader_of(load("digits", "data")["train"])
module = Classifier()
trainer = trainer_of(max_epochs=1)
trainer.fit(module, train_loader)
trainer.save_checkpoint("first.ckpt")

torch.manual_seed(1)  # as another program would begin
module = Classifier()
trainer = trainer_of(max_epochs=2)
trainer.fit(module, train_loader, ckpt_path="first.ckpt", weights_only=True)
