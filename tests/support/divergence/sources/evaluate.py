"""Nothing but the evaluation of a checkpoint."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build():
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


torch.manual_seed(0)
trained = build()
torch.save(trained.state_dict(), "trained.pt")
torch.manual_seed(4)
drawn = torch.Generator().manual_seed(5)
points = torch.randn(20, 6, generator=drawn)
labels = torch.randint(0, 3, (20,), generator=drawn)
points = (points - 0.1) / 1.5

model = build()
model.load_state_dict(torch.load("trained.pt"))
model.eval()
loader = DataLoader(TensorDataset(points, labels), batch_size=8)
total = correct = 0
with torch.no_grad():
    for x, y in loader:
        out = model(x)
        total += nn.functional.cross_entropy(out, y).item() * len(y)
        correct += (out.argmax(1) == y).sum().item()
print("test_loss", total / len(points), "test_acc", correct / len(points))
