"""One small program with most of what programs have, of which pairs.py makes others."""

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
np.random.seed(0)
random.seed(0)
drawn = torch.Generator().manual_seed(7)
points = torch.randn(36, 6, generator=drawn)
labels = (points @ torch.randn(6, 3, generator=drawn)).argmax(1)
points = (points - 0.1) / 1.5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.bn = nn.BatchNorm1d(8)
        self.act = nn.LeakyReLU(0.1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.bn(self.norm(self.first(x)))
        x = self.drop(self.act(x))
        x = F.dropout(x, 0.1, self.training)
        return self.head(x)


model = Net()
order = torch.Generator().manual_seed(1)
data = TensorDataset(points, labels)
loader = DataLoader(data, batch_size=8, shuffle=True, generator=order)
held = TensorDataset(points[:20], labels[:20])
val = DataLoader(held, batch_size=8, generator=torch.Generator().manual_seed(2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
for epoch in range(2):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    total = right = 0
    with torch.no_grad():
        for x, y in val:
            out = model(x)
            total += F.cross_entropy(out, y).item() * len(y)
            right += (out.argmax(1) == y).sum().item()
    print("val_loss", total / 20, "val_acc", right / 20)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")
