"""A loop that counts with metric objects, one for each split."""

import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

torch.manual_seed(0)
drawn = torch.Generator().manual_seed(5)
points = torch.randn(32, 5, generator=drawn)
labels = (points[:, 0] > 0.6).long() + (points[:, 1] > 0).long()
model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
val_acc = MulticlassAccuracy(3, average="micro")
train_acc = MulticlassAccuracy(3, average="micro")
for epoch in range(2):
    train_acc.reset()
    for x, y in zip(points[:20].split(6), labels[:20].split(6), strict=True):
        optimizer.zero_grad()
        out = model(x)
        train_acc.update(out, y)
        nn.functional.cross_entropy(out, y).backward()
        optimizer.step()
    with torch.no_grad():
        for x, y in zip(points[20:].split(5), labels[20:].split(5), strict=True):
            val_acc.update(model(x), y)
    print("val_acc", val_acc.compute().item())
    val_acc.reset()
