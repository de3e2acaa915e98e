"""Two tasks and one trunk, batches drawn by numpy, a schedule that waits for the validation."""

import numpy as np
import torch
from torch import nn, optim

rng = np.random.RandomState(4)
xs = rng.randn(90, 12).astype("float32")
ya = (xs[:, :3].sum(1) > 0).astype("int64")
yb = xs[:, 3:6].sum(1, keepdims=True).astype("float32")
xs_tr, xs_va = xs[:64], xs[64:]


class Shared(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(12, hidden), nn.BatchNorm1d(hidden), nn.SiLU(), nn.Dropout(p=0.25)
        )
        self.heads = nn.ModuleDict({"cls": nn.Linear(hidden, 2), "reg": nn.Linear(hidden, 1)})

    def forward(self, inp):
        z = self.trunk(inp)
        return self.heads["cls"](z), self.heads["reg"](z)


def set_seed(s):
    torch.manual_seed(s)
    np.random.seed(s)


set_seed(42)
net = Shared()
optimizer = optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.95, momentum=0.5)
plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
ce, mse = nn.CrossEntropyLoss(), nn.MSELoss()
best = float("inf")
history = {"train": [], "val": []}
for epoch in range(4):
    net.train()
    perm = np.random.permutation(64)
    running = 0.0
    for start in range(0, 64, 16):
        idx = perm[start : start + 16]
        x = torch.from_numpy(xs_tr[idx])
        ta, tb = torch.from_numpy(ya[idx]), torch.from_numpy(yb[idx])
        logits, pred = net(x)
        total = ce(logits, ta) + 0.3 * mse(pred, tb)
        for p in net.parameters():
            p.grad = None
        total.backward()
        optimizer.step()
        running += total.item() * len(idx)
    net.eval()
    with torch.no_grad():
        vl, vr = net(torch.from_numpy(xs_va))
        val = (ce(vl, torch.from_numpy(ya[64:])) + 0.3 * mse(vr, torch.from_numpy(yb[64:]))).item()
    plateau.step(val)
    history["train"].append(running / 64)
    history["val"].append(val)
    rate = optimizer.param_groups[0]["lr"]
    print(f"[{epoch + 1}] train={running / 64:.4f} val={val:.4f} lr={rate:.2e}")
    if val < best:
        best = val
        torch.save({"state": net.state_dict(), "epoch": epoch}, "best.pt")
