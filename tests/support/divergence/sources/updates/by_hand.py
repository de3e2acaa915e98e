"""The smallest of training loops: tensors and a rate, no module for the loss, no optimizer."""

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
rng = np.random.default_rng(3)
x = torch.tensor(rng.normal(size=(24, 3)), dtype=torch.float32)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3
model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
learning_rate = 0.05
for t in range(8):
    noisy = x + torch.tensor(rng.normal(size=(24, 3)), dtype=torch.float32) * 0.01
    y_pred = model(noisy)
    loss = (y_pred - y).pow(2).mean()
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for param in model.parameters():
            param -= learning_rate * param.grad
