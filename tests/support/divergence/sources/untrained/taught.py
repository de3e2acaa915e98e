"""A student and its teacher, by hand."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
points, labels = torch.randn(96, 10), torch.randint(0, 3, (96,))
teacher = nn.Sequential(nn.Linear(10, 24), nn.BatchNorm1d(24), nn.Dropout(0.3), nn.Linear(24, 3))
student = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
teacher.eval()
train = DataLoader(TensorDataset(points[:64], labels[:64]), batch_size=16, shuffle=True)
held_out = DataLoader(TensorDataset(points[64:], labels[64:]), batch_size=16)
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
for epoch in range(2):
    student.train()
    for x, y in train:
        scores = student(x)
        with torch.no_grad():
            aim = teacher(x)
        soft = F.kl_div(F.log_softmax(scores / 4, -1), F.softmax(aim / 4, -1))
        loss = F.cross_entropy(scores, y) + soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    student.eval()
    with torch.no_grad():
        right = sum((student(x).argmax(1) == y).sum().item() for x, y in held_out)
    print(f"epoch {epoch} accuracy {right / 32:.4f}")
