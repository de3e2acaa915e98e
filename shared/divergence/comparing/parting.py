"""Calls of torch led back along their arguments, to the first of a side's own."""

from __future__ import annotations

from ..records import Operation

Pair = tuple[Operation | None, Operation | None]


def parted(
    x: list[Operation], y: list[Operation], all_x: list[Operation], all_y: list[Operation]
) -> Pair:
    """On each side the first call that led to what is given, with a result that the other side has
    nowhere.

    Args:
        x, y: calls of which the last is led back.
        all_x, all_y: all calls, those of constants too.
    """
    return _first_of_its_own(x, all_x, all_y), _first_of_its_own(y, all_y, all_x)


def _first_of_its_own(
    side: list[Operation], every: list[Operation], other: list[Operation]
) -> Operation | None:
    known = {p["value"] for p in other}
    last = next((p for p in reversed(side) if p["value"] not in known), None)
    if last is None:
        return None
    by_value: dict[int, int] = {}
    for i, p in enumerate(every):
        by_value.setdefault(p["value"], i)
    first = start = by_value[last["value"]]
    todo, seen = [start], {start}
    while todo:
        i = todo.pop()
        first = min(first, i)
        for value in every[i]["inputs"]:
            j = by_value.get(value)
            if j is not None and j < i and j not in seen and value not in known:
                seen.add(j)
                todo.append(j)
    return every[first]


def graphs(side: list[Operation]) -> list[Operation]:
    return [p for p in side if p["graph"] and p["value"]]


def valued(side: list[Operation]) -> list[Operation]:
    return [p for p in side if p["value"]]
