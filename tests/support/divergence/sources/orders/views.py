"""Two views of each sample, that are to be alike."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(3)
data = torch.rand(160, 24)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32))
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x):
        return self.head(self.body(x))


def augment(x):
    return x + 0.1 * torch.randn_like(x), x * (torch.rand_like(x) > 0.2)


def nt_xent(a, b, tau=0.5):
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.T / tau
    sim.fill_diagonal_(float("-inf"))
    n = len(a)
    target = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return F.cross_entropy(sim, target)


net = Encoder()
opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(3):
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
    for idx in order.split(32):
        x = data[idx]
        one, two = augment(x)
        loss = nt_xent(net(one), net(two))
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(epoch, float(loss))
