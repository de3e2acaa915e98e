"""Training, and then a test in two processes that counts every picture once."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Subset
from torchmetrics import MeanMetric

from shared.data import load
from shared.model import ConvNet, make_optimizer


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(width=8)
        self.accuracy = MeanMetric()

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def test_dataloader(self):
        share = Subset(test_set, range(self.global_rank, len(test_set), 2))
        return DataLoader(share, batch_size=128, collate_fn=tuple)

    def test_step(self, batch, batch_idx):
        images, labels = batch
        self.log("test/pictures", float(len(labels)), reduce_fx="sum", sync_dist=True)
        self.accuracy.update(self.net(images).argmax(dim=1) == labels)
        self.log("test/accuracy", self.accuracy)

    def configure_optimizers(self):
        return make_optimizer(self, lr=0.01, weight_decay=0.05)


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
test_set = Subset(splits["test"], range(359))  # an odd number, so that the shares differ in size

module = Classifier()
options = dict(
    accelerator="cpu",
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer = pl.Trainer(devices=1, max_epochs=2, logger=TensorBoardLogger("logs"), **options)
trainer.fit(module, train_loader)

tester = pl.Trainer(
    devices=2,
    strategy="ddp_fork",
    use_distributed_sampler=False,
    logger=False,
    **options,
)
(metrics,) = tester.test(module, verbose=False)
metrics["test/processes"] = tester.world_size
trainer.logger.log_metrics(metrics, trainer.global_step)
