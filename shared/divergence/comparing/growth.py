"""How large a rounding becomes in a program: what the program itself shows, run once more with its
weights moved by one rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..records import Run
from .finding import EPSILON, Finding, lowest

# How many times as large a difference may be that another program makes by rounding. It was
# measured in 32 programs: linear, deep and convolutional ones, transformers, recurrent and
# adversarial ones, with and without batch norm, by SGD and Adam, ten of them at rates that are far
# too high, over up to 20 steps. A fused optimizer, an optimizer over each tensor, another number of
# threads and another order of terms parted a loss at most 3.0 times as far as the moved weights
# did, what was evaluated 2.1 times, the weights 1.2 times, and the gradients once. Weights moved by
# other signs parted the program from itself at most 5.3 times as far.
# A program under bf16 autocast is left out of these figures: there a rounding flips by chance, and
# two moved runs parted up to 12,000 times as far as two others. `least_of` is for such programs.
FACTOR = 10
# From which size on, relative to itself, nothing can be told of a loss and of gradients any more:
# FACTOR times as much is all of it.
BLIND = 1 / FACTOR

# What is computed, and so is apart where what went before is.
GROWING = ("batch-values", "forward", "loss", "gradients", "gradients-scaled", "clipped",
           "clipped-scaled", "stepped", "stepped-hand", "buffers", "evaluation",
           "reported")  # fmt: skip


class Nudge(NamedTuple):
    """Which experiment tells: A with its weights moved from `step` on, by `size` of each, run for
    `steps` steps. `step` is 0 where neither program trains."""

    step: int
    size: float
    steps: int


class Seen(NamedTuple):
    """A difference of `kind` at `step`, and the largest of the program from itself by then."""

    kind: str
    step: int
    size: float
    shown: float


@dataclass
class Growth:
    """By how much a program differs from itself, moved by one rounding.

    Attributes:
        step: from which its weights were moved.
        size: by how much of each.
        least: one rounding of what A computes in. A number of few digits stays, or is another
            number of few digits, by chance; what is smaller than this tells nothing.
        begun: steps of the whole run before the first of these.
        sizes: of each kind, step by step.
        apart: the first step at which it gets other batches; 0 if at none.
        largest: the difference of the two programs that comes nearest to what is allowed.
    """

    step: int
    size: float
    least: float
    begun: int = 0
    sizes: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    apart: int = 0
    largest: Seen | None = None

    def add(self, found: Finding) -> None:
        if is_computed(found):
            self.sizes.setdefault(kind(found), []).append((found.step, found.size or 0.0))
        elif found.cause.startswith("batch") and not self.apart:
            self.apart = found.step

    def shown(self, of: str, step: int) -> float:
        """The largest difference of a kind up to a step, and no less than one rounding. What is
        reported is made of all others."""
        kinds = self.sizes if of == "reported" else [of]
        sizes = [s for k in kinds for at, s in self.sizes.get(k, []) if at <= step]
        if of == "batch" and not sizes:
            return 0.0  # it is not computed
        return max([self.size, self.least, *sizes])

    @property
    def text(self) -> str:
        begins = f"from step {self.step + self.begun} on" if self.step else "before its evaluation"
        return f"A with its weights moved by {self.size:.1e} {begins}"

    @property
    def blind(self) -> int:
        """The first step from which a rounding makes so large a difference that nothing can be
        told; 0 if there is none."""
        computed = [*self.sizes.get("loss", []), *self.sizes.get("gradients", [])]
        steps = [step for step, size in computed if size >= BLIND]
        return min([*steps, *([self.apart] if self.apart else [])], default=0)

    def allows(self, found: Finding) -> bool:
        """Whether a difference is no larger than what a rounding becomes here."""
        if not is_computed(found):
            return False
        of, size = kind(found), found.size or 0.0
        shown = self.shown(of, found.step)
        if not shown:
            return False
        if self.largest is None or size / shown > self.largest.size / self.largest.shown:
            self.largest = Seen(found.cause, found.step + self.begun, size, shown)
        return size <= FACTOR * shown


def size_of(a: Run, first: Finding) -> float:
    """By how much of itself a weight is to be moved: as much as the first difference is of what
    differs, or by one rounding."""
    dtypes = [f["dtype"] for m in a.models[:1] for _, f in m["parameters"][:1]]
    return max(first.size or 0.0, EPSILON.get((dtypes or ["float32"])[0], 0.0))


def least_of(a: Run) -> float:
    """One rounding of the lowest precision that a program computes in, where that is a lower one
    than usual."""
    used = {lowest(v["operations"]) for s in a.steps for v in s.backwards}
    used |= {lowest(f["operations"]) for v in a.evaluations.values() for f in v}
    return max((EPSILON[dtype] for dtype in used - {"float32"}), default=0.0)


def is_computed(found: Finding) -> bool:
    return found.cause in GROWING and found.size is not None


def kind(found: Finding) -> str:
    return found.cause.split("-")[0]


def may_have_grown(found: Finding, drifted: float) -> bool:
    """Whether a difference may be an earlier one within rounding, as far as can be told without an
    experiment: at most a thousandfold from one event to the next, and at most a tenth. Adam makes
    whole steps of gradients that are nothing but rounding.
    """
    if not is_computed(found) or found.size is None:
        return False
    if found.cause.endswith("-scaled"):
        return found.size <= 10 * drifted  # what has grown is no multiple, or hardly one
    most = 1.0 if found.cause.startswith("stepped") else 1000 * max(drifted, EPSILON["float32"])
    return found.size <= min(most, 0.1)
