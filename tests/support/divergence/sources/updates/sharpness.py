"""Two forward passes in a step: the second where the loss is sharper, as SAM takes it."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(240, 12)
y = (x[:, :3].sum(1) > 0).long()
net = nn.Sequential(
    nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2)
)
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
rho = 0.05
for epoch in range(3):
    net.train()
    for i in range(0, 240, 80):
        bx, by = x[i : i + 80], y[i : i + 80]
        F.cross_entropy(net(bx), by).backward()
        with torch.no_grad():
            norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
            steps = []
            for p in net.parameters():
                e = p.grad * (rho / (norm + 1e-12))
                p.add_(e)
                steps.append(e)
        opt.zero_grad()
        F.cross_entropy(net(bx), by).backward()
        with torch.no_grad():
            for p, e in zip(net.parameters(), steps, strict=True):
                p.sub_(e)
        opt.step()
        opt.zero_grad()
    net.eval()
    with torch.no_grad():
        acc = (net(x).argmax(1) == y).float().mean()
    print(epoch, acc.item())
