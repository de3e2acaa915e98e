"""A loader with a generator of its own, and as many samples as make whole batches: when it is asked
for a batch after its last, its sampler draws once more."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
points = torch.randn(32, 6, generator=torch.Generator().manual_seed(5))
data = TensorDataset(points, points[:, :3].argmax(1))
order = torch.Generator().manual_seed(1)
loader = DataLoader(data, batch_size=8, shuffle=True, generator=order)
val = DataLoader(data, batch_size=16, generator=torch.Generator())
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in val)
    print("val_acc", right / len(data))
