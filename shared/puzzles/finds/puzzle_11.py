"""The accuracy over all validation pictures, after each epoch."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from shared.data import load
from shared.model import ConvNet, make_optimizer


def evaluate(module, loader):
    """The mean loss and accuracy over all samples of a loader."""
    losses, accuracies = [], []
    module.eval()
    with torch.no_grad():
        for images, labels in loader:
            logits = module(images)
            losses.append(F.cross_entropy(logits, labels))
            accuracies.append((logits.argmax(dim=1) == labels).float().mean())
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=128, collate_fn=tuple)

module = ConvNet(width=8)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
writer = SummaryWriter("logs")

for epoch in range(3):
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss, val_accuracy = evaluate(module, val_loader)
    writer.add_scalar("val/loss", val_loss, epoch)
    writer.add_scalar("val/accuracy", val_accuracy, epoch)

print(f"validation accuracy {val_accuracy:.2%}")
