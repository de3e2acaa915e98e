"""What a comparison finds, and the arithmetic that all of it shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..fingerprints import Print, distance
from ..records import Loss, Operation, Where

# The distance from 1 to the next number, for each dtype that is computed in.
EPSILON = {"float64": 2.3e-16, "float32": 1.2e-7, "bfloat16": 7.9e-3, "float16": 9.8e-4}
# By how many of these another order of terms changes a result. What is summed up is kept in float32
# by kernels of the lower precisions, and rounded once.
TERMS = {"bfloat16": 4, "float16": 4}
MOST_TERMS = 32


@dataclass
class Finding:
    """One difference. `who` is the run that stands out, "A" or "B"; None where neither does.

    Attributes:
        size: relative.
        reason: why it is rounding: what was seen that takes sums in another order. A difference
            without a reason is none, however small.
        is_silent: nothing comes of it by itself; it is the cause of what differs after it.
    """

    cause: str
    step: int
    text: str
    who: str | None = None
    where: tuple[Where, Where] = field(default_factory=lambda: ([], []))
    size: float | None = None
    reason: str = ""
    is_silent: bool = False

    @property
    def is_rounding(self) -> bool:
        return bool(self.reason)


def relative(f: Print, g: Print) -> float:
    return distance(f, g) / (g["norm"] or f["norm"] or 1.0)


def rounding_of(dtype: str) -> float:
    """How far apart, relative to their size, two orders of the same terms may come out."""
    return TERMS.get(dtype, MOST_TERMS) * EPSILON.get(dtype, 0.0)


def lowest(operations: list[Operation]) -> str:
    """The lowest precision that was computed in."""
    used = {operation["dtype"] for operation in operations}
    return next((d for d in ("bfloat16", "float16") if d in used), "float32")


def where(x: Mapping[str, Any] | None, y: Mapping[str, Any] | None) -> tuple[Where, Where]:
    return (x or {}).get("where", []), (y or {}).get("where", [])


def paired(x: Sequence[Loss], y: Sequence[Loss]) -> list[tuple[Loss, Loss]]:
    """The losses of two steps that belong together: by their names and targets, or else by their
    names, where these are the same in another order; else by their order."""

    def name(loss: Loss) -> tuple[str, ...]:
        return (loss["name"],)

    def name_and_target(loss: Loss) -> tuple[str, ...]:
        return loss["name"], loss["target"]["hash"] if loss["target"] else ""

    for key in (name_and_target, name):
        sides = [sorted(side, key=key) for side in (x, y)]
        if list(map(key, sides[0])) == list(map(key, sides[1])):
            return list(zip(*sides, strict=True))
    return list(zip(x, y, strict=False))


def called(operation: Operation) -> str:
    """A call as the program may have written it."""
    given = ", ".join(
        value if key.startswith("argument") else f"{key}={value}"
        for key, value in operation["given"].items()
    )
    layer = f" in a {operation['layer']}" if operation["layer"] else ""
    return f"{operation['name']}({given[:60]}){layer}"


def number_of(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def alike(p: Any, q: Any) -> bool:
    if isinstance(p, (list, tuple)) and isinstance(q, (list, tuple)):
        return len(p) == len(q) and all(map(alike, p, q))
    numbers = all(isinstance(v, (int, float)) for v in (p, q))
    return math.isclose(p, q, rel_tol=1e-9, abs_tol=1e-15) if numbers else p == q
