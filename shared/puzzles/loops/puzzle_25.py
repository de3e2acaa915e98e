"""One optimizer for the last layer, and another for all that is before it."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
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
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=128, collate_fn=tuple)

module = ConvNet(width=8)
body = torch.optim.SGD(list(module.parameters())[:-2], lr=0.05, momentum=0.9)
head = make_optimizer(module[-1], lr=0.01, weight_decay=0.05)
writer = SummaryWriter("logs")

for epoch in range(2):
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        body.zero_grad()
        head.zero_grad()
        loss.backward()
        body.step()
        head.step()
    last_step = (epoch + 1) * len(train_loader) - 1
    val_loss, val_accuracy = evaluate(module, val_loader)
    writer.add_scalar("val/loss", val_loss, last_step)
    writer.add_scalar("val/accuracy", val_accuracy, last_step)
