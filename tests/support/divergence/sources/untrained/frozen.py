"""A student on frozen features, taught by a teacher; an average of its weights is evaluated."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)
data = torch.randn(128, 10)
labels = (data[:, :3].prod(dim=1) > 0).long()
backbone = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2))
backbone.requires_grad_(False)
teacher = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Dropout(0.1), nn.Linear(24, 2))
student = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)

for epoch in range(2):
    student.train()
    backbone.eval()
    teacher.eval()
    for index in torch.randperm(96).split(16):
        with torch.no_grad():
            features = backbone(data[index])
        out = student(features)
        with torch.no_grad():
            aim = teacher(features)
        hard = F.cross_entropy(out, labels[index])
        soft = F.kl_div(F.log_softmax(out / 2, 1), F.softmax(aim / 2, 1), reduction="batchmean")
        loss = hard + 0.5 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(student)
    student.eval()
    with torch.no_grad():
        scores = average(backbone(data[96:]))
    print(f"epoch {epoch} loss {F.cross_entropy(scores, labels[96:]):.4f}")
