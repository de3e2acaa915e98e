"""A tensor in a few numbers: enough to say whether another is equal to the bit and, if it is not,
about how far away it is."""

from __future__ import annotations

import functools
import hashlib
import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

PROJECTIONS = 4
SHOWN = 16  # values kept as they are
ROWS = 1024  # samples of a batch that are told apart


@functools.cache
def _signs(power: int) -> Tensor:
    """+1 and -1 at random, float32 [PROJECTIONS, 2**power], drawn without torch's generator."""
    drawn = np.random.default_rng(power).integers(0, 2, (PROJECTIONS, 2**power), dtype=np.int8)
    return torch.from_numpy(drawn).float().mul_(2).sub_(1)


def raw_bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")


def checksum(tensor: Tensor) -> int:
    """A cheap sum over the bytes, for tensors of which only equality is asked."""
    return zlib.crc32(raw_bytes(plain(tensor)))


def plain(tensor: Tensor) -> Tensor:
    """Dense, real and not quantized, and so with bytes to look at."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def fingerprint(tensor: Tensor, *, rows: bool = False) -> dict[str, Any]:
    """What is kept of a tensor.

    `hash` covers every byte. `projections` are the sums of all values with random signs, always the
    same: the difference of two such sums is about the norm of the difference of the two tensors.

    Args:
        rows: keep a checksum of each sample, the first dimension, too.
    """
    kept: dict[str, Any] = {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "device": str(tensor.device),
    }
    if tensor.device.type == "meta":
        return {**kept, "hash": "meta", "norm": 0.0, "projections": [], "values": []}
    tensor = plain(tensor).cpu().contiguous()
    content = raw_bytes(tensor)
    kept["hash"] = hashlib.blake2b(content, digest_size=8).hexdigest()
    if rows and tensor.dim() and len(tensor):
        width = len(content) // len(tensor)
        count = min(len(tensor), ROWS)
        kept["rows"] = [zlib.crc32(content[i * width : (i + 1) * width]) for i in range(count)]
    flat = tensor.reshape(-1)
    # In float32 where that is exact enough for a size; sums of integers need all their digits.
    flat = flat.float() if flat.is_floating_point() and flat.element_size() <= 4 else flat.double()
    size = flat.numel()
    signs = _signs(max(size - 1, 0).bit_length())[:, :size].to(flat.dtype)
    kept["norm"] = float(torch.linalg.vector_norm(flat, dtype=torch.float64)) if size else 0.0
    kept["projections"] = (signs @ flat).tolist()
    step = max(size // SHOWN, 1)
    kept["values"] = flat[::step][:SHOWN].tolist()
    return kept


def distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """About the norm of the difference of two tensors of one shape; infinite if either is not
    finite."""
    if a["hash"] == b["hash"] and a["dtype"] == b["dtype"]:
        return 0.0
    pairs = list(zip(a["projections"], b["projections"], strict=False))
    squares = [(x - y) ** 2 for x, y in pairs] or [0.0]
    estimate = math.sqrt(sum(squares) / len(squares))
    seen = [abs(x - y) for x, y in zip(a["values"], b["values"], strict=False)]
    found = max([estimate, abs(a["norm"] - b["norm"]), *seen])
    return found if math.isfinite(found) else math.inf


def ratio(a: dict[str, Any], b: dict[str, Any]) -> float | None:
    """The factor c where a = c b, if there is one that is not 1."""
    if not b["norm"] or not a["norm"] or not math.isfinite(a["norm"] / b["norm"]):
        return None
    factor = a["norm"] / b["norm"]
    off = [abs(x - factor * y) for x, y in zip(a["projections"], b["projections"], strict=False)]
    is_scaled = off and max(off) <= 1e-3 * a["norm"] and abs(factor - 1) > 1e-3
    return factor if is_scaled else None


def affine(a: dict[str, Any], b: dict[str, Any]) -> tuple[float, float] | None:
    """Scale and shift that turn the values of b into those of a, if there are such."""
    x, y = np.array(b["values"], dtype=float), np.array(a["values"], dtype=float)
    if len(x) < 4 or len(x) != len(y) or not np.isfinite([x, y]).all() or np.ptp(x) == 0:
        return None
    scale, shift = np.polyfit(x, y, 1)
    fits = np.abs(scale * x + shift - y).max() <= 1e-4 * max(np.ptp(y), 1e-12)
    return (float(scale), float(shift)) if fits and scale else None
