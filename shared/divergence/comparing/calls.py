"""The calls of two programs side by side, whatever they gave: what can still be compared when
results differ by rounding already."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from ..records import Operation
from .finding import rounding_of

# By how much one call makes a difference of its inputs larger. Where two programs do not call the
# same and results are further apart behind it than this, that is what parts them.
AMPLIFIED = 30

RANDOM = (
    "dropout", "alpha_dropout", "feature_", "native_dropout", "rand", "bernoulli", "normal",
    "multinomial", "rrelu", "gumbel",
)  # fmt: skip

Key = tuple[str, tuple[str, ...]]


@dataclass
class Change:
    """A stretch of calls that the other program does not make like this.

    Attributes:
        before: the relative difference of what goes into it; None where that is not known.
        after: the relative difference of what comes out; None where it comes last.
    """

    ours: list[Operation]
    theirs: list[Operation]
    before: float | None
    after: float | None

    @property
    def key(self) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        return tuple(map(key_of, self.ours)), tuple(map(key_of, self.theirs))

    @property
    def is_definite(self) -> bool:
        """Whether it is one call whose arguments are others, and not numbers that are near."""
        if len(self.ours) != 1 or len(self.theirs) != 1:
            return False
        p, q = self.ours[0], self.theirs[0]
        if p["name"] != q["name"] or p["given"].keys() != q["given"].keys():
            return False
        pairs = [(p["given"][k], q["given"][k]) for k in p["given"]]
        return any(v != w and not _are_near(v, w) for v, w in pairs)


@dataclass
class Drift:
    """What is known of a pair of runs that are equal but for rounding.

    Attributes:
        size: the largest difference so far, relative; 0 as long as they are equal to the bit.
        reason: where it comes from.
        step: when it began.
        harmless: changes of calls that made no difference, or made the one that began it.
    """

    size: float = 0.0
    reason: str = ""
    step: int = 0
    harmless: set = field(default_factory=set)


def is_random(operation: Operation) -> bool:
    return operation["name"].startswith(RANDOM)


def key_of(operation: Operation) -> Key:
    """Arguments may be given by position or by name."""
    return operation["name"], tuple(sorted(operation["given"].values()))


def apart(p: Operation, q: Operation) -> float:
    """The relative difference of two results, by the first of their values."""
    if p["value"] == q["value"]:
        return 0.0
    if p["count"] != q["count"]:
        return math.inf
    usual = max(p["norm"], q["norm"]) / math.sqrt(max(min(p["count"], 4096), 1))
    largest = max((abs(v - w) for v, w in zip(p["values"], q["values"], strict=False)), default=0.0)
    size = max(largest, abs(p["norm"] - q["norm"]) / math.sqrt(max(min(p["count"], 4096), 1)))
    return size / usual if usual and math.isfinite(size / usual) else math.inf if size else 0.0


def changes(x: list[Operation], y: list[Operation]) -> list[Change]:
    keys = [[key_of(p) for p in side] for side in (x, y)]
    if keys[0] == keys[1]:
        return []
    blocks = SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
    pairs = [(x[v.a + k], y[v.b + k]) for v in blocks for k in range(v.size)]
    sizes = sizes_of(pairs)
    found: list[Change] = []
    i = j = 0
    for block in blocks:
        if (i, j) != (block.a, block.b):
            after = apart(x[block.a], y[block.b]) if block.size else None
            ours, theirs = x[i : block.a], y[j : block.b]
            found.append(Change(ours, theirs, gone_in([*ours, *theirs], sizes), after))
        i, j = block.a + block.size, block.b + block.size
    return found


def sizes_of(pairs: list[tuple[Operation, Operation]]) -> dict[int, float]:
    """How far the results of calls are apart that belong together, by the checksum of either, and
    0 for tensors that both programs have."""
    common = {v for p, _ in pairs for v in p["inputs"]} & {v for _, q in pairs for v in q["inputs"]}
    sizes = dict.fromkeys(common, 0.0)
    for p, q in pairs:
        sizes[p["value"]] = sizes[q["value"]] = apart(p, q)
    return sizes


def gone_in(operations: list[Operation], sizes: dict[int, float]) -> float | None:
    """How far apart the tensors are that go into some calls; None where one is a weight, or else
    not known."""
    inner = {p["value"] for p in operations}
    inputs = [v for p in operations for v in p["inputs"] if v not in inner]
    known = [sizes.get(v) for v in inputs]
    found = [size for size in known if size is not None]
    return max(found, default=0.0) if len(found) == len(known) else None


def matters(change: Change, whole: float, drifted: float) -> bool:
    """Whether results are further apart behind a change than what went in explains.

    Args:
        whole: the relative difference of what all calls together gave.
        drifted: the largest difference of anything so far.
    """
    dtypes = {p["dtype"] for p in (*change.ours, *change.theirs)}
    least = max((rounding_of(dtype) for dtype in dtypes), default=0.0)
    before = drifted if change.before is None else change.before
    after = whole if change.after is None else change.after
    return after > max(least, AMPLIFIED * before)


def drawn_otherwise(x: list[Operation], y: list[Operation]) -> tuple[Operation, Operation] | None:
    """The first random call that gave something else on each side, of what was near."""
    keys = [[key_of(p) for p in side] for side in (x, y)]
    blocks = SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
    pairs = [(x[v.a + k], y[v.b + k]) for v in blocks for k in range(v.size)]
    sizes = sizes_of(pairs)
    for p, q in pairs:
        if p["value"] in p["inputs"] or q["value"] in q["inputs"]:
            continue  # dropout in eval mode gives what it gets
        before = gone_in([p, q], sizes)
        if is_random(p) and before is not None and apart(p, q) > max(0.01, AMPLIFIED * before):
            return p, q
    return None


def _are_near(v: str, w: str) -> bool:
    """Whether two arguments are fractions that may have been computed from results."""
    try:
        return "." in v and "." in w and math.isclose(float(v), float(w), rel_tol=0.1)
    except ValueError:
        return False
