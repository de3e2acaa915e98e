"""In the style of PyTorch's DCGAN: two networks whose parameters have the same names, and an
optimizer for each."""

import torch
import torch.nn as nn
import torch.optim as optim

torch.manual_seed(999)
real_images = torch.randn(32, 6, generator=torch.Generator().manual_seed(5))
dataloader = torch.utils.data.DataLoader(real_images, batch_size=8, shuffle=True)


def weights_init(m):
    if type(m).__name__.find("Linear") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.2)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6))

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))

    def forward(self, input):
        return self.main(input)


netG = Generator()
netG.apply(weights_init)
netD = Discriminator()
netD.apply(weights_init)
criterion = nn.BCEWithLogitsLoss()
optimizerD = optim.Adam(netD.parameters(), lr=0.002, betas=(0.5, 0.999))
optimizerG = optim.Adam(netG.parameters(), lr=0.002, betas=(0.5, 0.999))
for epoch in range(2):
    for i, data in enumerate(dataloader):
        netD.zero_grad()
        label = torch.full((8,), 1.0)
        errD_real = criterion(netD(data).view(-1), label)
        errD_real.backward()
        noise = torch.randn(8, 6)
        fake = netG(noise)
        label.fill_(0.0)
        errD_fake = criterion(netD(fake.detach()).view(-1), label)
        errD_fake.backward()
        optimizerD.step()
        netG.zero_grad()
        label.fill_(1.0)
        errG = criterion(netD(fake).view(-1), label)
        errG.backward()
        optimizerG.step()
