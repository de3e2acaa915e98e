"""What a step depends on besides weights and data: the random generators."""

from __future__ import annotations

import torch
from torch import Tensor


def seed_epoch(seed: int, epoch: int, device: torch.device) -> None:
    """Seed an epoch's dropout masks: they depend on the run's seed and the epoch's number alone, so
    a run that is resumed draws the masks that the undisturbed run would have drawn.

    The multiplier, a prime, keeps the epochs of neighbouring seeds apart. The product is below
    2**63, which is the most that `torch.manual_seed` takes.
    """
    torch.manual_seed(seed * 1_000_003 + epoch)
    if device.type == "xla":  # which torch.manual_seed does not reach
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(seed * 1_000_003 + epoch)


def generator_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the global generators that a step on `device` may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    elif device.type == "xla":
        import torch_xla.core.xla_model as xm

        # 64 bits without a sign, for which an int64 is too small.
        state = xm.get_rng_state().to_bytes(8, "little")
        states["xla"] = torch.tensor(list(state), dtype=torch.uint8)
    return states


def restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
    elif device.type == "xla" and "xla" in states:
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(int.from_bytes(bytes(states["xla"].tolist()), "little"))
