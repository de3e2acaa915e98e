"""One process of what may be many: a sampler shuffles each epoch anew."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, DistributedSampler
from torch.utils.tensorboard import SummaryWriter

from shared.data import load
from shared.model import ConvNet, make_optimizer


def evaluate(module, loader):
    """The mean loss and accuracy over all samples of a loader."""
    totals = torch.zeros(2)
    module.eval()
    with torch.no_grad():
        for images, labels in loader:
            logits = module(images)
            accuracy = (logits.argmax(dim=1) == labels).float().mean()
            totals += torch.stack([F.cross_entropy(logits, labels), accuracy]) * len(labels)
    return totals / len(loader.dataset)


torch.manual_seed(0)
splits = load("digits", "data")
sampler = DistributedSampler(splits["train"], num_replicas=1, rank=0, seed=0)
train_loader = DataLoader(splits["train"], batch_size=128, sampler=sampler, collate_fn=tuple)
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
