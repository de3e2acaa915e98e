"""What makes a pair of programs: one of those in sources/, and the same with a change."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """What is changed, and the causes that may be named.

    Attributes:
        causes: none, and the pair is equal.
        line: a part of one of the lines shown.
        program: the file in sources/ that is changed.
        against: the file that it is compared with, if that is another.
        also: a second change: what stands there, and what then stands there.
        is_blind: rounding grows so large that the rest cannot be compared.
        by_kernels: the processor decides whether the change gives other bits, and how many.
    """

    kind: str
    before: str
    after: str
    causes: tuple[str, ...] = ()
    line: str = ""
    program: str = "one"
    against: str = ""
    also: tuple[str, str] = ("", "")
    is_blind: bool = False
    by_kernels: bool = False
