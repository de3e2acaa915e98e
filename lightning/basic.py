"""A whole training program: losses and accuracies in TensorBoard, a schedule, the best weights.

python -m lightning.basic
"""

import pytorch_lightning as pl
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from shared.data import load, prepare
from shared.model import ConvNet, make_optimizer, make_scheduler

DATASET = "digits"  # or "mnist" or "fashion-mnist", which are downloaded
MAX_EPOCHS = 5


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, images):
        return self.net(images)

    def loss_and_accuracy(self, batch):
        images, labels = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return F.cross_entropy(logits, labels), accuracy

    def training_step(self, batch, batch_idx):
        loss, accuracy = self.loss_and_accuracy(batch)
        # [log] Averaged over the epoch, weighted by the size of the batches.
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        loss, accuracy = self.loss_and_accuracy(batch)
        self.log("val/loss", loss)  # [log] averages by itself outside training
        self.log("val/accuracy", accuracy, prog_bar=True)

    def test_step(self, batch, batch_idx):
        loss, accuracy = self.loss_and_accuracy(batch)
        self.log("test/loss", loss)
        self.log("test/accuracy", accuracy)

    def configure_optimizers(self):
        optimizer = make_optimizer(self, lr=0.01, weight_decay=0.05)
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = make_scheduler(optimizer, lr=0.01, total_steps=total_steps)
        # [schedule] Without "step", the rate would move once an epoch.
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


pl.seed_everything(0, verbose=False)  # [seed] of the weights and the order
prepare(DATASET, "data")  # [data] downloads what is missing
splits = load(DATASET, "data")
train_loader = DataLoader(splits["train"], batch_size=64, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=64, collate_fn=tuple)
test_loader = DataLoader(splits["test"], batch_size=64, collate_fn=tuple)

module = Classifier()
trainer = pl.Trainer(
    accelerator="auto",  # [device] an accelerator if there is one
    devices=1,
    max_epochs=MAX_EPOCHS,
    logger=TensorBoardLogger("runs/basic", name="lightning"),  # [log] in version_0, 1, ...
    callbacks=[ModelCheckpoint(monitor="val/loss")],  # [checkpoint] the smallest loss so far
)
trainer.fit(module, train_loader, val_loader)  # [train] [validate] the loop
# [test] The best weights, not the last ones.
metrics = trainer.test(module, test_loader, ckpt_path="best", weights_only=True, verbose=False)[0]
print(f"test accuracy {metrics['test/accuracy']:.2%}, test loss {metrics['test/loss']:.6f}")
