"""One epoch, a checkpoint, and another epoch by a new program, as if it had never stopped."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, DistributedSampler

from shared.data import load
from shared.model import ConvNet, make_optimizer


def loader_of(split):
    """Another order in each epoch, which follows from the number of the epoch."""
    sampler = DistributedSampler(split, num_replicas=1, rank=0, seed=0)
    return DataLoader(split, batch_size=128, sampler=sampler, collate_fn=tuple)


def train(module, optimizer, epoch):
    train_loader.sampler.set_epoch(epoch)
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


torch.manual_seed(0)
train_loader = loader_of(load("digits", "data")["train"])
module = ConvNet(dropout=0.2, width=8)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
train(module, optimizer, epoch=0)
checkpoint = {
    "model": module.state_dict(),
    "optimizer": optimizer.state_dict(),
    "generator": torch.get_rng_state(),  # from which dropout draws its masks
}
torch.save(checkpoint, "first.pt")

torch.manual_seed(1)  # as another program would begin
module = ConvNet(dropout=0.2, width=8)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
checkpoint = torch.load("first.pt", weights_only=True)
module.load_state_dict(checkpoint["model"])
optimizer.load_state_dict(checkpoint["optimizer"])
torch.set_rng_state(checkpoint["generator"])
train(module, optimizer, epoch=1)
