"""Pictures mixed by twos, with a loss for the labels of each."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(4)
np.random.seed(4)
x = torch.rand(256, 1, 12, 12)
y = (x.mean((1, 2, 3)) * 40).long() % 5
net = nn.Sequential(
    nn.Conv2d(1, 8, 3),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(32, 5),
)
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=12)
alpha = 0.4
for epoch in range(3):
    perm = torch.randperm(256)
    for idx in perm.split(64):
        bx, by = x[idx], y[idx]
        lam = float(np.random.beta(alpha, alpha))
        other = torch.randperm(len(bx))
        mixed = lam * bx + (1 - lam) * bx[other]
        out = net(mixed)
        loss = lam * F.cross_entropy(out, by) + (1 - lam) * F.cross_entropy(out, by[other])
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
print(loss.item())
