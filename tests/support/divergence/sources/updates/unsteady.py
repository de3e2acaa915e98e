"""Twenty steps at a rate at which a rounding grows until it is all that there is."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
drawn = torch.Generator().manual_seed(3)
X = torch.randn(160, 12, generator=drawn)
Y = (X @ torch.randn(12, 4, generator=drawn)).argmax(1)


class Unsteady(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 32)
        self.last = nn.Linear(32, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


model = Unsteady()
opt = torch.optim.SGD(model.parameters(), lr=8.0, momentum=0.9)
for step in range(20):
    x, y = X[step * 8 : step * 8 + 8], Y[step * 8 : step * 8 + 8]
    opt.zero_grad()
    out = model(x)
    loss = F.cross_entropy(out, y)
    loss.backward()
    opt.step()
model.eval()
with torch.no_grad():
    out = model(X)
    print("test_loss", F.cross_entropy(out, Y).item())
