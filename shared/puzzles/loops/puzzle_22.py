"""The best weights and the last ones in files of their own, and the best ones tested."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from shared.data import load
from shared.model import ConvNet


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
test_loader = DataLoader(splits["test"], batch_size=128, collate_fn=tuple)

module = ConvNet(width=8)
# Too large a rate, so that the last epoch is not the best.
optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
writer = SummaryWriter("logs")
best_loss = float("inf")

for epoch in range(3):
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    last_step = (epoch + 1) * len(train_loader) - 1
    val_loss, val_accuracy = evaluate(module, val_loader)
    writer.add_scalar("val/loss", val_loss, last_step)
    writer.add_scalar("val/accuracy", val_accuracy, last_step)
    if val_loss < best_loss:
        best_loss = val_loss
        torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, "best.pt")
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")

module.load_state_dict(torch.load("best.pt", weights_only=True)["model"])
test_loss, test_accuracy = evaluate(module, test_loader)
writer.add_scalar("test/accuracy", test_accuracy, last_step + 1)
