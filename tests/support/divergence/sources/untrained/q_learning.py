"""In the style of deep Q-learning: a target network follows the one that is trained."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)
states, rewards, following = torch.randn(128, 4), torch.randn(128), torch.randn(128, 4)
actions = torch.randint(0, 2, (128, 1))
network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
target = copy.deepcopy(network)
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, amsgrad=True)

for step in range(8):
    index = torch.randint(0, 128, (32,))
    value = network(states[index]).gather(1, actions[index]).squeeze(1)
    with torch.no_grad():
        best = target(following[index]).max(1).values
    loss = F.smooth_l1_loss(value, rewards[index] + 0.9 * best)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    moved = target.state_dict()
    for key, kept in network.state_dict().items():
        moved[key] = 0.1 * kept + 0.9 * moved[key]
    target.load_state_dict(moved)
