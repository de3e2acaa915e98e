"""Which parameter of the one program is which of the other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeVar

from ..records import Forward, Named, Run

T = TypeVar("T")

PREFIXES = re.compile(r"^(\d+\.)?((_orig_mod|module)\.)*")


class Matching:
    """Names of B's tensors as A says them. Tensors are the same where they begin with the same
    values; then where their names end alike; then by their order among those of one shape."""

    def __init__(self, a: Run, b: Run) -> None:
        self.names: dict[str, str] = {}
        self.only: tuple[list[str], list[str]] = ([], [])
        for kind in ("parameters", "buffers"):
            mine, other = (once([m[kind] for m in run.models]) for run in (a, b))  # type: ignore[literal-required]
            self._match(mine, other)
        self.untrained = _untrained(a, b, self.only[0]) | _untrained(b, a, self.only[1])

    def _match(self, mine: Named, other: Named) -> None:
        left, right = dict(mine), dict(other)
        hashes = [Counter(f["hash"] for f in side.values()) for side in (left, right)]
        by_hash = {f["hash"]: n for n, f in left.items()}
        for name, f in other:
            if hashes[0][f["hash"]] == hashes[1][f["hash"]] == 1:
                self._pair(name, by_hash[f["hash"]], left, right)
        for name in list(right):
            ends = [n for n in left if _ends_alike(n, name)]
            ends = [n for n in ends if left[n]["shape"] == right[name]["shape"]]
            if len(ends) == 1:
                self._pair(name, ends[0], left, right)
        by_shape: dict[str, list[str]] = defaultdict(list)
        for name, f in left.items():
            by_shape[str(f["shape"])].append(name)
        for name in list(right):
            same = by_shape[str(right[name]["shape"])]
            if same:
                self._pair(name, same.pop(0), left, right)
        self.only[0].extend(left)
        self.only[1].extend(right)

    def _pair(self, theirs: str, mine: str, left: dict, right: dict) -> None:
        self.names[theirs] = mine
        del left[mine], right[theirs]

    def of(self, name: str) -> str:
        return self.names.get(name, name)

    def renamed(self, named: Sequence[tuple[str, T]]) -> list[tuple[str, T]]:
        return [(self.of(name), value) for name, value in named]

    @property
    def prefixes(self) -> set[str]:
        """What stands before the names of one side only."""
        found = set()
        for theirs, mine in self.names.items():
            for longer, shorter in ((theirs, mine), (mine, theirs)):
                if longer != shorter and longer.endswith("." + shorter):
                    found.add(longer[: -len(shorter)])
        return found


def once(groups: list[Named]) -> Named:
    """What each name stood for first: a model that goes on from another has the names of that."""
    seen: dict[str, None] = {}
    return [
        (n, f) for group in groups for n, f in group if not (n in seen or seen.update({n: None}))
    ]


def frozen_calls(run: Run) -> list[Forward]:
    """The calls of the first step that build no graph."""
    begun = run.steps[0].backwards if run.steps else []
    return [f for v in begun for f in v["forwards"] if f.get("state")]


def _untrained(run: Run, other: Run, only: list[str]) -> set[str]:
    """Of the names that one program has alone, those of layers that are frozen as a whole, and of
    what the other program calls by itself, as a teacher that is no part of its model."""
    held = [part for call in frozen_calls(other) for part in call["state"]]
    named = {n: f for m in run.models for n, f in (*m["parameters"], *m["buffers"])}

    def is_held(name: str) -> bool:
        kept = named[name]["hash"], named[name]["shape"]
        return any(
            h == kept[0] or (_ends_alike(name, n) and shape == kept[1]) for n, h, shape in held
        )

    return {name for name in only if is_held(name) or _is_frozen(run, name)}


def _is_frozen(run: Run, name: str) -> bool:
    """Whether no parameter of the layer that a tensor belongs to is trained."""
    frozen = {n for m in run.models for n in m["frozen"]}
    layer = name.rpartition(".")[0]
    kin = {n for m in run.models for n, _ in m["parameters"] if n.rpartition(".")[0] == layer}
    return bool(kin) and kin <= frozen


def _ends_alike(a: str, b: str) -> bool:
    a, b = PREFIXES.sub("", a), PREFIXES.sub("", b)
    return a == b or a.endswith("." + b) or b.endswith("." + a)
