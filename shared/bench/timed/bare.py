"""The least that a program of either kind does, beside which its start is held:

python -m shared.bench.timed.bare torch | pytorch_lightning | optimizer

The first two import that and nothing else. The third imports torch and takes one step of the
optimizer, with which torch loads its compiler.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    name = sys.argv[1]
    torch = importlib.import_module("torch" if name == "optimizer" else name)
    if name == "optimizer":
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([weight])
        weight.sum().backward()
        optimizer.step()


if __name__ == "__main__":
    main()
