"""A network that tells the noise in noised points, and an average of its weights."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)
T = 50
betas = torch.linspace(1e-4, 0.02, T)
bars = torch.cumprod(1 - betas, 0)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(T, 16)
        self.net = nn.Sequential(
            nn.Linear(2 + 16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x, t):
        return self.net(torch.cat([x, self.time(t)], dim=1))


points = torch.randn(256, 2) * torch.tensor([1.0, 0.3])
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(points), batch_size=64, shuffle=True
)
model = Denoiser()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
ema = {k: v.clone() for k, v in model.state_dict().items()}
for epoch in range(3):
    for (x,) in loader:
        t = torch.randint(0, T, (len(x),))
        noise = torch.randn_like(x)
        a = bars[t].unsqueeze(1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        loss = F.mse_loss(model(noisy, t), noise)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        with torch.no_grad():
            for k, v in model.state_dict().items():
                ema[k].mul_(0.99).add_(v, alpha=0.01)
print(float(loss))
