"""The tutorial's training program: loss and accuracy in TensorBoard, a schedule, the best weights.

python -m raw_pytorch.basic [digits | mnist | fashion-mnist]
"""

import sys

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from shared.data import load, prepare
from shared.model import ConvNet, make_optimizer, make_scheduler

DATASET = sys.argv[1] if len(sys.argv) > 1 else "digits"
MAX_EPOCHS = 5
BEST = "runs/basic/raw_pytorch/best.pt"


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, images):
        return self.net(images)

    def step(self, batch):
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        correct = (logits.argmax(dim=1) == labels).sum()
        return loss, correct


def evaluate(module, loader, device):
    """The mean loss and the accuracy over a loader, without dropout and without gradients."""
    total_loss, total_correct, total = 0.0, 0, 0
    module.eval()
    with torch.no_grad():
        for images, labels in loader:
            batch = images.to(device), labels.to(device)
            loss, correct = module.step(batch)
            total_loss += loss * len(labels)  # the last batch is smaller
            total_correct += correct
            total += len(labels)
    module.train()
    return total_loss / total, total_correct / total


def main():
    torch.manual_seed(0)
    prepare(DATASET, "data")
    splits = load(DATASET, "data")
    train_loader = DataLoader(splits["train"], batch_size=64, shuffle=True, collate_fn=tuple)
    val_loader = DataLoader(splits["val"], batch_size=64, collate_fn=tuple)
    test_loader = DataLoader(splits["test"], batch_size=64, collate_fn=tuple)

    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    module = Classifier().to(device)
    optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
    scheduler = make_scheduler(optimizer, lr=0.01, total_steps=len(train_loader) * MAX_EPOCHS)
    writer = SummaryWriter("runs/basic/raw_pytorch")
    best_loss, global_step = float("inf"), 0
    for epoch in range(MAX_EPOCHS):
        ...


if __name__ == "__main__":
    main()
