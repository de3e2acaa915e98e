"""A class that trains, with a data set of dictionaries and a configuration."""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Cfg:
    lr: float = 3e-3
    wd: float = 0.05
    epochs: int = 3
    bs: int = 16
    seed: int = 11
    smoothing: float = 0.0


class DS(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.rand(n, 1, 8, 8, generator=g)
        self.y = (self.x.flatten(1)[:, ::7].sum(1) * 3).long() % 5

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"image": (self.x[i] - 0.5) / 0.25, "label": self.y[i]}


class Block(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            Block(1, 6), nn.MaxPool2d(2), Block(6, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 5)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def forward(self, x):
        return self.fc(self.drop(self.body(x)))


class Trainer:
    def __init__(self, cfg):
        self.cfg = cfg
        torch.manual_seed(cfg.seed)
        random.seed(cfg.seed)
        self.net = Net()
        self.train_dl = torch.utils.data.DataLoader(
            DS(70, 0),
            cfg.bs,
            shuffle=True,
            drop_last=True,
            generator=torch.Generator().manual_seed(cfg.seed),
        )
        self.val_dl = torch.utils.data.DataLoader(DS(30, 1), 16)
        self.opt = torch.optim.AdamW(self.net.parameters(), lr=cfg.lr, weight_decay=cfg.wd)
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.opt, T_max=cfg.epochs * len(self.train_dl)
        )

    def step(self, batch):
        logits = self.net(batch["image"])
        return F.cross_entropy(logits, batch["label"], label_smoothing=self.cfg.smoothing)

    def fit(self):
        for epoch in range(self.cfg.epochs):
            self.net.train()
            for batch in self.train_dl:
                self.opt.zero_grad(set_to_none=True)
                loss = self.step(batch)
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
                self.opt.step()
                self.sched.step()
            print(f"epoch {epoch} | train loss {loss.item():.5f} | val acc {self.evaluate():.4f}")

    @torch.inference_mode()
    def evaluate(self):
        self.net.eval()
        hit = n = 0
        for batch in self.val_dl:
            pred = self.net(batch["image"]).argmax(-1)
            hit += (pred == batch["label"]).sum().item()
            n += len(pred)
        return hit / n


if __name__ == "__main__":
    Trainer(Cfg()).fit()
