"""The raw PyTorch side: everything a Trainer does, by hand."""
