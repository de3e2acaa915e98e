"""Training, and then a test in two processes that counts every picture once."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torch.utils.tensorboard import SummaryWriter

from shared.data import load
from shared.model import ConvNet, make_optimizer

PROCESSES = 2


def test(rank, module, dataset, counts):
    """Test on a share of the dataset. `counts` becomes the hits and the pictures of all shares."""
    store = "file://" + os.path.abspath("store")
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    share = Subset(dataset, range(rank, len(dataset), PROCESSES))
    mine = torch.zeros(2)
    module.eval()
    with torch.no_grad():
        for images, labels in DataLoader(share, batch_size=128, collate_fn=tuple):
            hits = (module(images).argmax(dim=1) == labels).sum()
            mine += torch.tensor([hits, len(labels)])
    dist.all_reduce(mine)
    if rank == 0:
        counts.copy_(mine)
    dist.destroy_process_group()


torch.manual_seed(0)
splits = load("digits", "data")
train_loader = DataLoader(splits["train"], batch_size=128, shuffle=True, collate_fn=tuple)
test_set = Subset(splits["test"], range(359))  # an odd number, so that the shares differ in size

module = ConvNet(width=8)
optimizer = make_optimizer(module, lr=0.01, weight_decay=0.05)
writer = SummaryWriter("logs")

for epoch in range(2):
    module.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

counts = torch.zeros(2).share_memory_()
mp.start_processes(test, (module, test_set, counts), nprocs=PROCESSES, start_method="fork")
hits, pictures = counts
last_step = 2 * len(train_loader)
writer.add_scalar("test/pictures", pictures, last_step)
writer.add_scalar("test/accuracy", hits / pictures, last_step)
writer.add_scalar("test/processes", PROCESSES, last_step)
