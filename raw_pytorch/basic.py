"""A whole training program: losses and accuracies in TensorBoard, a schedule, the best weights.

python -m raw_pytorch.basic
"""

import time

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from shared.data import load, prepare
from shared.model import ConvNet, make_optimizer, make_scheduler

DATASET = "digits"  # or "mnist" or "fashion-mnist", which are downloaded
MAX_EPOCHS = 5


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, images):
        return self.net(images)

    def loss_and_accuracy(self, batch):
        images, labels = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return F.cross_entropy(logits, labels), accuracy


def evaluate(module, loader, device):
    """The mean loss and accuracy over all samples of a loader."""
    totals = torch.zeros(2, device=device)
    module.eval()  # [validate] without dropout, and batch norm as it was learnt
    with torch.no_grad():
        for images, labels in loader:
            batch = images.to(device), labels.to(device)
            # [validate] Weighted, since the last batch may be smaller.
            totals += torch.stack(module.loss_and_accuracy(batch)) * len(labels)
    return totals / len(loader.dataset)


torch.manual_seed(0)  # [seed] of the weights and the order
prepare(DATASET, "data")  # [data] downloads what is missing
splits = load(DATASET, "data")
train_loader = DataLoader(splits["train"], batch_size=64, shuffle=True, collate_fn=tuple)
val_loader = DataLoader(splits["val"], batch_size=64, collate_fn=tuple)
test_loader = DataLoader(splits["test"], batch_size=64, collate_fn=tuple)

# [device] A GPU if there is one.
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
module = Classifier().to(device)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
scheduler = make_scheduler(optimizer, lr=0.01, total_steps=len(train_loader) * MAX_EPOCHS)
writer = SummaryWriter(time.strftime("runs/basic/raw_pytorch/%Y-%m-%d_%H-%M-%S"))  # [log] by time
best_ckpt, best_loss = f"{writer.log_dir}/best.pt", float("inf")

for epoch in range(MAX_EPOCHS):  # [train] the loop
    totals = torch.zeros(2, device=device)
    module.train()
    for images, labels in train_loader:
        batch = images.to(device), labels.to(device)  # [device] every batch
        loss, accuracy = module.loss_and_accuracy(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()  # [schedule] once per step, not per epoch
        totals += torch.stack([loss.detach(), accuracy]) * len(labels)
    train_loss, train_accuracy = totals / len(splits["train"])
    val_loss, val_accuracy = evaluate(module, val_loader, device)
    last_step = (epoch + 1) * len(train_loader) - 1  # [log] counted from 0
    writer.add_scalar("train/loss", train_loss, last_step)
    writer.add_scalar("train/accuracy", train_accuracy, last_step)
    writer.add_scalar("val/loss", val_loss, last_step)
    writer.add_scalar("val/accuracy", val_accuracy, last_step)
    if val_loss < best_loss:  # [checkpoint] the weights with the smallest loss so far
        best_loss = val_loss
        torch.save(module.state_dict(), best_ckpt)

module.load_state_dict(torch.load(best_ckpt, weights_only=True))  # [test] not the last ones
test_loss, test_accuracy = evaluate(module, test_loader, device)
writer.add_scalar("test/loss", test_loss, last_step + 1)
writer.add_scalar("test/accuracy", test_accuracy, last_step + 1)
writer.close()
print(f"test accuracy {test_accuracy:.2%}, test loss {test_loss:.6f}")
