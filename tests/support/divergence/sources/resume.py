"""A run of two epochs that saves after the first, and the part of it that goes on from the file."""

import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

IS_RESUMED = os.path.exists("half.pt")
torch.manual_seed(0)
points = torch.randn(32, 6, generator=torch.Generator().manual_seed(5))
labels = points[:, :3].argmax(1)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
order = torch.Generator().manual_seed(1)
scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
loader = DataLoader(TensorDataset(points, labels), batch_size=8, shuffle=True, generator=order)
start = 0
if IS_RESUMED:
    saved = torch.load("half.pt", weights_only=False)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    scaler.load_state_dict(saved["scaler"])
    order.set_state(saved["order"])
    torch.set_rng_state(saved["rng"])
    start = 1
for epoch in range(start, 2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
    if epoch == 0:
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "scaler": scaler.state_dict(),
                "order": order.get_state(),
                "rng": torch.get_rng_state(),
            },
            "half.pt",
        )
