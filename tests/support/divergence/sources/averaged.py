"""Functions: gradients of two batches for a step, and an average of the weights evaluated."""

import copy

import torch
from torch import nn

torch.manual_seed(3)
gen = torch.Generator().manual_seed(5)
X = torch.randn(64, 10, generator=gen)
Y = (X @ torch.randn(10, 1, generator=gen)).squeeze(1)


class Scale(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("mean", torch.full((d,), 0.1), persistent=True)
        self.lin = nn.Linear(d, 12)
        self.gru = nn.GRU(12, 6, batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        h = torch.tanh(self.lin(x - self.mean)).unsqueeze(1)
        o, _ = self.gru(h)
        return self.out(o[:, -1]).squeeze(-1)


def batches(epoch):
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(100 + epoch))
    for i in range(0, len(X), 8):
        yield X[order[i : i + 8]], Y[order[i : i + 8]]


def train(epochs=3, accumulate=2, decay=0.9):
    model = Scale(10)
    ema = copy.deepcopy(model)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for epoch in range(epochs):
        for i, (x, y) in enumerate(batches(epoch)):
            loss = nn.functional.huber_loss(model(x), y, delta=1.0)
            (loss / accumulate).backward()
            if (i + 1) % accumulate == 0:
                opt.step()
                opt.zero_grad()
                with torch.no_grad():
                    for e, p in zip(ema.parameters(), model.parameters(), strict=True):
                        e.lerp_(p, 1 - decay)
        ema.eval()
        with torch.no_grad():
            v = nn.functional.mse_loss(ema(X[:20]), Y[:20]).item()
        print("epoch", epoch, "val_mse:", round(v, 6))
    torch.save(ema.state_dict(), "accum.pt")


train()
