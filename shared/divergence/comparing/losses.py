"""What losses that differ say of themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..fingerprints import Print, same
from ..records import Backward, Loss
from .finding import Finding, paired, relative, rounding_of, where

# Those that take scores and targets of two shapes.
BROADCASTING = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div"}


def special_of(
    x: Backward, y: Backward, f: Print, g: Print, number: int, window: int
) -> Finding | None:
    """What a loss that differs says of itself, with equal outputs of the model."""
    values = f"{f['values'][0]:.7g} in A, {g['values'][0]:.7g} in B"
    for p, q in paired(x["losses"], y["losses"]):
        lines = where(p, q)
        if is_softmaxed(p) != is_softmaxed(q):
            who = "A" if is_softmaxed(p) else "B"
            text = f"{who} gives {p['name']} probabilities, not logits. Loss: {values}."
            return Finding("loss-softmax", number, text, who, lines)
        keys = [k for k in p["given"] if p["given"][k] != q["given"].get(k)]
        if p["name"] == q["name"] and keys == ["reduction"]:
            kinds = p["given"]["reduction"], q["given"]["reduction"]
            summed = "A" if kinds[0] == "'sum'" else "B" if kinds[1] == "'sum'" else None
            text = f"Reduction {kinds[0]} in A, {kinds[1]} in B. Loss: {values}."
            cause = "loss-reduction" if summed else "loss-function"
            return Finding(cause, number, text, summed, lines)
        if p["name"] != q["name"] or keys:
            text = f"{_loss(p, keys)} in A, {_loss(q, keys)} in B. Loss: {values}."
            if not relative(f, g) <= rounding_of(f["dtype"]):
                return Finding("loss-function", number, text, None, lines)
    if len(f["values"]) != 1 or len(g["values"]) != 1:
        return None
    factor = f["values"][0] / g["values"][0] if g["values"][0] else math.inf
    batch = max([p["batch"] for p in x["losses"] + y["losses"]], default=0)
    for count, cause in ((window, "loss-not-divided"), (batch, "loss-reduction")):
        for who, times in (("A", factor), ("B", 1 / factor if factor else math.inf)):
            if count > 1 and abs(times / count - 1) < 1e-5:
                text = f"The loss of {who} is {count} times the other's: {values}."
                return Finding(cause, number, text, who, where(x, y))
    return None


def broadcast(x: Backward, y: Backward, number: int) -> Finding | None:
    """Whether one side alone compares scores with targets of another shape."""
    for p, q in paired(x["losses"], y["losses"]):
        if p["name"] != q["name"] or p["name"] not in BROADCASTING:
            continue
        shapes = [(v["input"]["shape"], (v["target"] or v["input"])["shape"]) for v in (p, q)]
        alike = [scores == targets for scores, targets in shapes]
        if alike[0] != alike[1]:
            who, (scores, targets) = ("B", shapes[1]) if alike[0] else ("A", shapes[0])
            text = f"In {who}, {p['name']} gets scores of shape {scores} and targets of {targets}."
            return Finding("loss-broadcast", number, text, who, where(p, q))
    return None


def are_alike(x: Sequence[Loss], y: Sequence[Loss]) -> bool:
    """Whether two programs call the same losses of the same tensors, in any order."""
    return len(x) == len(y) > 0 and all(
        (p["name"], p["given"]) == (q["name"], q["given"])
        and all(
            v is w or (v is not None and w is not None and same(v, w))
            for v, w in ((p["input"], q["input"]), (p["target"], q["target"]))
        )
        for p, q in paired(x, y)
    )


def is_softmaxed(loss: Loss) -> bool:
    return loss["probabilities"] and loss["name"] == "cross_entropy"


def _loss(loss: Loss, keys: list[str]) -> str:
    options = ", ".join(f"{k}={loss['given'].get(k)}" for k in keys)
    return f"{loss['name']}({options})"
