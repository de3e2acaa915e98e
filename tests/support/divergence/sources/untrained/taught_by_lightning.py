"""A student and its teacher, with Lightning."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Taught(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Sequential(
            nn.Linear(10, 24), nn.BatchNorm1d(24), nn.Dropout(0.3), nn.Linear(24, 3)
        )
        self.student = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
        self.teacher.eval()

    def forward(self, x):
        return self.student(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        with torch.no_grad():
            aim = self.teacher(x)
        soft = F.kl_div(F.log_softmax(scores / 4, -1), F.softmax(aim / 4, -1))
        return F.cross_entropy(scores, y) + soft

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("accuracy", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.student.parameters(), lr=1e-3)


torch.manual_seed(0)
points, labels = torch.randn(96, 10), torch.randint(0, 3, (96,))
module = Taught()
trainer = pl.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(
    module,
    DataLoader(TensorDataset(points[:64], labels[:64]), batch_size=16, shuffle=True),
    DataLoader(TensorDataset(points[64:], labels[64:]), batch_size=16),
)
