"""Two epochs of the digits, by hand."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet, make_optimizer

torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)

module = ConvNet(width=8)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)

for epoch in range(2):
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
