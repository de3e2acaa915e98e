"""LBFGS with a closure, and a layer whose weight is made of two others."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(9)
X = torch.linspace(-2, 2, 50).unsqueeze(1)
y = torch.sin(2 * X) + 0.1 * torch.randn(50, 1)
net = nn.Sequential(weight_norm(nn.Linear(1, 12)), nn.Tanh(), nn.Linear(12, 1))
opt = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, history_size=5)
for it in range(5):

    def closure():
        opt.zero_grad()
        loss = F.mse_loss(net(X), y)
        loss.backward()
        return loss

    loss = opt.step(closure)
    print("iter", it, "loss", float(loss))
