"""In the style of PyTorch's word language model: truncated backpropagation, a state that goes from
batch to batch, and weights that are updated without an optimizer."""

import math

import torch
from torch import nn

torch.manual_seed(1111)
ntokens, bptt, lr = 12, 4, 0.5
corpus = torch.randint(0, ntokens, (26, 3), generator=torch.Generator().manual_seed(5))


class RNNModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntokens, 6)
        self.rnn = nn.LSTM(6, 6, 1)
        self.decoder = nn.Linear(6, ntokens)
        self.init_weights()

    def init_weights(self):
        initrange = 0.1
        nn.init.uniform_(self.encoder.weight, -initrange, initrange)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -initrange, initrange)

    def forward(self, input, hidden):
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        output = self.drop(output)
        decoded = self.decoder(output).view(-1, ntokens)
        return nn.functional.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return weight.new_zeros(1, bsz, 6), weight.new_zeros(1, bsz, 6)


model = RNNModel()
criterion = nn.NLLLoss()


def repackage_hidden(h):
    return tuple(v.detach() for v in h)


def get_batch(source, i):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].reshape(-1)


def evaluate(source):
    model.eval()
    total_loss = 0.0
    hidden = model.init_hidden(3)
    with torch.no_grad():
        for i in range(0, len(source) - 1, bptt):
            data, targets = get_batch(source, i)
            output, hidden = model(data, hidden)
            hidden = repackage_hidden(hidden)
            total_loss += len(data) * criterion(output, targets).item()
    return total_loss / (len(source) - 1)


def train():
    model.train()
    hidden = model.init_hidden(3)
    for i in range(0, len(corpus) - 6, bptt):
        data, targets = get_batch(corpus, i)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)


for epoch in range(2):
    train()
    val_loss = evaluate(corpus[-9:])
    print(f"| end of epoch {epoch} | valid loss {val_loss:5.4f} | ppl {math.exp(val_loss):8.4f}")
