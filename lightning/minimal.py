"""The whole idea on one screen: three epochs of the digits, one line for each thing that happens.

python -m lightning.minimal
"""

import pytorch_lightning as pl
import torch.nn.functional as F
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet, make_optimizer


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("last loss", loss)  # [log] kept for later
        return loss

    def test_step(self, batch, batch_idx):
        images, labels = batch
        hits = (self.net(images).argmax(dim=1) == labels).float().mean()
        # An average over batches, weighted by their sizes.
        self.log("test accuracy", hits, batch_size=len(labels))

    def configure_optimizers(self):
        return make_optimizer(self, lr=0.002, weight_decay=0.01)


pl.seed_everything(0, verbose=False)  # [seed] of the weights and the order
splits = load("digits", "data")  # [data] all of it in memory
train_loader = DataLoader(splits["train"], batch_size=64, shuffle=True, collate_fn=tuple)
test_loader = DataLoader(splits["test"], batch_size=64, collate_fn=tuple)

trainer = pl.Trainer(  # [device] an accelerator if there is one
    max_epochs=3,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
classifier = Classifier()
trainer.fit(classifier, train_loader)  # [train] the loop
last_loss = trainer.callback_metrics["last loss"]
# [test] With batch norm as it was learnt; the Trainer sees to that.
accuracy = trainer.test(classifier, test_loader, verbose=False)[0]["test accuracy"]
print(f"test accuracy {accuracy:.2%}, last loss {last_loss:.6f}")
