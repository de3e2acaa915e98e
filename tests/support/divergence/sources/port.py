"""The program of mnist.py, moved to Lightning line by line."""

import pytorch_lightning as pl
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(36, 8)
        self.fc2 = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class LitMNIST(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Net()

    def training_step(self, batch, batch_idx):
        data, target = batch
        loss = F.nll_loss(self.model(data), target)
        return loss

    def validation_step(self, batch, batch_idx):
        data, target = batch
        output = self.model(data)
        self.log("Average loss", F.nll_loss(output, target), batch_size=len(target))
        accuracy = (output.argmax(dim=1) == target).float().mean()
        self.log("Accuracy", accuracy, batch_size=len(target))

    def configure_optimizers(self):
        optimizer = optim.Adadelta(self.parameters(), lr=1.0)
        scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
        return [optimizer], [scheduler]


def main():
    torch.manual_seed(1)
    drawn = torch.Generator().manual_seed(5)
    images, labels = torch.rand(40, 1, 8, 8, generator=drawn), torch.arange(40) % 4
    images = (images - 0.1307) / 0.3081
    dataset1 = torch.utils.data.TensorDataset(images[:24], labels[:24])
    dataset2 = torch.utils.data.TensorDataset(images[24:], labels[24:])
    train_loader = torch.utils.data.DataLoader(dataset1, batch_size=8, shuffle=True)
    test_loader = torch.utils.data.DataLoader(dataset2, batch_size=6)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(LitMNIST(), train_loader, test_loader)


if __name__ == "__main__":
    main()
