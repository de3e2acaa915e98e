"""Two parts of a network with an optimizer each, stepped in turn."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(9)
x = torch.randn(192, 10)
y = x[:, :2].sum(1, keepdim=True)


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(10, 16), nn.ReLU())
        self.dec = nn.Linear(16, 10)
        self.reg = nn.Linear(16, 1)

    def forward(self, x):
        h = self.enc(x)
        return self.dec(h), self.reg(h)


net = Both()
opt_a = torch.optim.Adam([*net.enc.parameters(), *net.dec.parameters()], lr=1e-3)
opt_b = torch.optim.SGD(net.reg.parameters(), lr=0.05)
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(x, y), batch_size=64, shuffle=True
)
for epoch in range(3):
    for bx, by in loader:
        recon, _ = net(bx)
        loss_a = F.mse_loss(recon, bx)
        opt_a.zero_grad()
        loss_a.backward()
        opt_a.step()
        _, pred = net(bx)
        loss_b = F.l1_loss(pred, by)
        opt_b.zero_grad()
        loss_b.backward()
        opt_b.step()
print(loss_a.item(), loss_b.item())
