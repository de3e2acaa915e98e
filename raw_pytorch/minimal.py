"""The whole idea on one screen: three epochs of the digits, one line for each thing that happens.

python -m raw_pytorch.minimal
"""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from shared.data import load
from shared.model import ConvNet, make_optimizer

torch.manual_seed(0)  # [seed] of the weights and the order
splits = load("digits", "data")  # [data] all of it in memory
train_loader = DataLoader(splits["train"], batch_size=64, shuffle=True, collate_fn=tuple)
test_loader = DataLoader(splits["test"], batch_size=64, collate_fn=tuple)

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # [device] by hand
net = ConvNet().to(device)
optimizer = make_optimizer(net, lr=0.002, weight_decay=0.01)
for epoch in range(3):  # [train] the loop
    net.train()
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

net.eval()  # [test] batch norm as it was learnt
correct = 0
with torch.no_grad():
    for images, labels in test_loader:
        images, labels = images.to(device), labels.to(device)
        correct += (net(images).argmax(dim=1) == labels).sum().item()
print(f"test accuracy {correct / len(splits['test']):.2%}, last loss {loss.item():.6f}")
