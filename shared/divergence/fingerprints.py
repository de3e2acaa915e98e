"""A tensor in a few numbers: enough to say whether another is equal to the bit and, if it is not,
about how far away it is."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import zlib
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

PROJECTIONS = 4
SHOWN = 16  # values kept as they are
ROWS = 1024  # samples of a batch that are told apart
BLOCK = 2**16  # values that are looked at together, so that memory stays bounded
SAMPLED = 4096  # values of which a sample is taken


class Print(TypedDict, total=False):
    """What is kept of a tensor. `rows` are checksums of the samples of a batch, `sum` is that of a
    sample of the tensor, by which the calls of torch know it."""

    shape: list[int]
    dtype: str
    device: str
    hash: str
    norm: float
    projections: list[float]
    values: list[float]
    rows: list[int]
    sum: int


@functools.cache
def signs() -> Tensor:
    """+1 and -1 at random, float64 [PROJECTIONS, BLOCK], drawn without torch's generators."""
    drawn = hashlib.shake_128(b"signs").digest(PROJECTIONS * BLOCK // 8)
    bits = torch.frombuffer(bytearray(drawn), dtype=torch.uint8)
    spread = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return (spread.reshape(PROJECTIONS, BLOCK).double() * 2).sub_(1)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has values of its own that may be read: no fake, traced, batched or
    distributed one."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return False
    if tensor.device.type == "meta":
        return False
    functorch = getattr(torch._C, "_functorch", None)
    return functorch is None or not functorch.is_functorch_wrapped_tensor(tensor)


def dense(tensor: Tensor) -> Tensor:
    """Strided, real and not quantized, and so with bytes to look at."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.resolve_neg()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a dense tensor, as they lie in memory; numpy need not be there."""
    flat = tensor.detach().cpu().contiguous()
    size = flat.numel() * flat.element_size()
    if not size:
        return memoryview(b"")
    held = (ctypes.c_ubyte * size).from_address(flat.data_ptr())
    held.tensor = flat  # type: ignore[attr-defined]  # or its memory is given back
    return memoryview(held).cast("B")


def checksum(tensor: Tensor) -> int:
    """A cheap sum over the bytes, for tensors of which only equality is asked."""
    return zlib.crc32(raw_bytes(dense(tensor))) if is_plain(tensor) else 0


def sample(tensor: Tensor) -> tuple[int, list[float], float]:
    """Of at most about SAMPLED values: a checksum, the first of them, and their norm."""
    tensor = dense(tensor)
    steps = [1] * tensor.dim()
    sizes = list(tensor.shape)
    while math.prod(sizes) > SAMPLED:
        widest = max(range(len(sizes)), key=sizes.__getitem__)
        steps[widest] *= 2
        sizes[widest] = -(-tensor.shape[widest] // steps[widest])
    part = tensor[tuple(slice(None, None, step) for step in steps)] if steps else tensor
    part = part.cpu().contiguous()
    total = zlib.crc32(raw_bytes(part), zlib.crc32(repr(tuple(tensor.shape)).encode()))
    flat = part.reshape(-1).double()
    return total, flat[:SHOWN].tolist(), float(torch.linalg.vector_norm(flat)) if len(flat) else 0.0


def fingerprint(tensor: Tensor, *, rows: bool = False) -> Print:
    """What is kept of a tensor.

    `hash` covers every byte. `projections` are the sums of all values with random signs, always the
    same: the difference of two such sums is about the norm of the difference of the two tensors.

    Args:
        rows: keep a checksum of each sample, the first dimension, too.
    """
    kept: Print = {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "device": str(tensor.device),
        "hash": type(tensor).__name__,
        "norm": 0.0,
        "projections": [],
        "values": [],
    }
    if not is_plain(tensor):
        return kept
    tensor = dense(tensor).cpu().contiguous()
    content = raw_bytes(tensor)
    kept["hash"] = hashlib.blake2b(content, digest_size=8).hexdigest()
    if rows and tensor.dim() and len(tensor):
        width = len(content) // len(tensor)
        count = min(len(tensor), ROWS)
        kept["rows"] = [zlib.crc32(content[i * width : (i + 1) * width]) for i in range(count)]
    flat = tensor.reshape(-1)
    squares, sums = 0.0, torch.zeros(PROJECTIONS, dtype=torch.float64)
    for number, block in enumerate(flat.split(BLOCK)):
        values = block.double()
        squares += float(values @ values)
        # Each block has the signs in another order, so that blocks do not cancel out.
        sums += (signs()[:, : len(values)] @ values).roll(number) * (-1) ** (number // 4)
    kept["norm"] = math.sqrt(squares) if squares >= 0 else squares
    kept["projections"] = sums.tolist()
    kept["values"] = flat[:: max(flat.numel() // SHOWN, 1)][:SHOWN].double().tolist()
    return kept


def digest(tensor: Tensor) -> str:
    """The `hash` of a fingerprint, and no more."""
    if not is_plain(tensor):
        return type(tensor).__name__
    return hashlib.blake2b(raw_bytes(dense(tensor)), digest_size=8).hexdigest()


def same(a: Print, b: Print) -> bool:
    """Equal to the bit."""
    return a["hash"] == b["hash"] and a["dtype"] == b["dtype"] and a["shape"] == b["shape"]


def distance(a: Print, b: Print) -> float:
    """About the norm of the difference of two tensors of one shape; infinite if either is not
    finite."""
    if same(a, b):
        return 0.0
    pairs = list(zip(a["projections"], b["projections"], strict=False))
    squares = [(x - y) ** 2 for x, y in pairs] or [0.0]
    estimate = math.sqrt(sum(squares) / len(squares))
    seen = [abs(x - y) for x, y in zip(a["values"], b["values"], strict=False)]
    found = max([estimate, abs(a["norm"] - b["norm"]), *seen])
    return found if math.isfinite(found) else math.inf


def ratio(a: Print, b: Print) -> float | None:
    """The factor c where a = c b, if there is one that is not 1."""
    if not b["norm"] or not a["norm"] or not math.isfinite(a["norm"] / b["norm"]):
        return None
    factor = a["norm"] / b["norm"]
    off = [abs(x - factor * y) for x, y in zip(a["projections"], b["projections"], strict=False)]
    is_scaled = off and max(off) <= 1e-3 * a["norm"] and abs(factor - 1) > 1e-3
    return factor if is_scaled else None


def affine(a: Print, b: Print) -> tuple[float, float] | None:
    """Scale and shift that turn the values of b into those of a, if there are such: what is left of
    the difference is next to nothing of the values, and little of the difference itself."""
    x, y = b["values"], a["values"]
    if len(x) < 4 or len(x) != len(y) or not all(map(math.isfinite, [*x, *y])):
        return None
    middle = sum(x) / len(x), sum(y) / len(y)
    spread = sum((v - middle[0]) ** 2 for v in x)
    if spread == 0:
        return None
    scale = sum((v - middle[0]) * (w - middle[1]) for v, w in zip(x, y, strict=True)) / spread
    shift = middle[1] - scale * middle[0]
    off = max(abs(scale * v + shift - w) for v, w in zip(x, y, strict=True))
    apart = max(abs(v - w) for v, w in zip(x, y, strict=True))
    is_near = off <= min(1e-4 * max(max(y) - min(y), 1e-12), 0.1 * apart)
    return (scale, shift) if is_near and scale else None


def close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    """Whether all values are equal within a tolerance that is absolute."""
    return len(a) == len(b) and all(
        abs(x - y) <= tolerance or x == y for x, y in zip(a, b, strict=True)
    )
