"""Two networks against each other, where the second is given points that are made for it alone."""

import torch
from torch import nn

torch.manual_seed(7)
real = torch.randn(64, 2) * 0.3 + 1
maker = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
judge = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
making = torch.optim.Adam(maker.parameters(), lr=1e-3)
judging = torch.optim.Adam(judge.parameters(), lr=1e-3)
loss_of = nn.BCEWithLogitsLoss()

for points in real.split(16):
    made = maker(torch.randn(16, 4)).detach()
    loss = loss_of(judge(points), torch.ones(16, 1)) + loss_of(judge(made), torch.zeros(16, 1))
    judging.zero_grad()
    loss.backward()
    judging.step()
    loss = loss_of(judge(maker(torch.randn(16, 4))), torch.ones(16, 1))
    making.zero_grad()
    loss.backward()
    making.step()
