"""The loss functions of torch, and what is kept of a call of one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..fingerprints import checksum, dense, fingerprint, is_plain
from .operations import described

LOSSES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "gaussian_nll_loss",
    "poisson_nll_loss", "soft_margin_loss", "multi_margin_loss", "hinge_embedding_loss",
    "cosine_embedding_loss", "margin_ranking_loss", "triplet_margin_loss", "ctc_loss",
)  # fmt: skip
# Deprecated names of `reduction`, which mean nothing where they are not given.
DEPRECATED = ("size_average", "reduce")


def called(name: str, result: Any, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """What was computed, of what, and how; None where the tensors cannot be read."""
    given, target = arguments.get("input"), arguments.get("target")
    if not (isinstance(result, Tensor) and isinstance(given, Tensor) and is_plain(given)):
        return None
    options = {
        key: f"tensor {checksum(value):08x}" if isinstance(value, Tensor) else described(value)
        for key, value in arguments.items()
        if key not in ("input", "target", *DEPRECATED)
    }
    is_number = result.numel() == 1 and is_plain(result)
    return {
        "name": name,
        "given": options,
        "input": fingerprint(given),
        "probabilities": are_probabilities(given),
        "target": fingerprint(target, rows=True) if isinstance(target, Tensor) else None,
        "batch": len(given) if given.dim() else 1,
        "value": float(result.detach()) if is_number else None,
    }


def are_probabilities(given: Tensor) -> bool:
    """Whether each sample's scores, none of them negative, sum up to one."""
    scores = dense(given)
    if not scores.is_floating_point() or not scores.numel() or scores.dim() < 2:
        return False
    sums = scores.float().sum(1)
    return bool((scores.min() >= 0) & (sums - 1).abs().max().lt(1e-2))
