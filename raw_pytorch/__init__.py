"""The raw PyTorch side: everything a Trainer does, by hand."""

from shared import need

need("torch", "jsonargparse", "sklearn")
