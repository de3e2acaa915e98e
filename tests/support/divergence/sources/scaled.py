"""A small transformer under autocast, with a gradient scaler and a warm-up."""

import torch
import torch.nn as nn

torch.manual_seed(1)
V, L, D = 20, 6, 16
data = torch.randint(0, V, (40, L + 1), generator=torch.Generator().manual_seed(2))


class LM(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, D, padding_idx=0)
        self.pos = nn.Parameter(torch.randn(L, D) * 0.02)
        layer = nn.TransformerEncoderLayer(D, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(D, V, bias=False)
        self.register_buffer("mask", torch.triu(torch.full((L, L), float("-inf")), 1))

    def forward(self, t):
        h = self.emb(t) + self.pos
        return self.head(self.enc(h, mask=self.mask))


lm = LM()
opt = torch.optim.Adam(lm.parameters(), lr=2e-3, betas=(0.9, 0.95))
warm = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 5))
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
crit = nn.CrossEntropyLoss(ignore_index=-1)
losses = []
for step in range(12):
    b = data[(step * 8) % 40 : (step * 8) % 40 + 8]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = lm(b[:, :-1])
        loss = crit(out.view(-1, V), b[:, 1:].reshape(-1))
    opt.zero_grad()
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    nn.utils.clip_grad_norm_(lm.parameters(), 0.5)
    scaler.step(opt)
    scaler.update()
    warm.step()
    losses.append(loss.item())
    if step % 4 == 3:
        print("step", step, "loss", sum(losses[-4:]) / 4)
