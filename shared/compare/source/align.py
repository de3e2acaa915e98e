"""Two sequences beside each other."""

from __future__ import annotations

from collections.abc import Sequence


def common(a: Sequence[tuple[int, str]], b: Sequence[tuple[int, str]]) -> dict[int, int]:
    """The longest sequence of names that both have, in order.

    Args:
        a, b: places and names.

    Returns:
        For each place of `a` that has one, its partner in `b`.
    """
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            skipped = max(length[i + 1][j], length[i][j + 1])
            taken = length[i + 1][j + 1] + 1 if a[i][1] == b[j][1] else 0
            length[i][j] = max(skipped, taken)
    pairs, i, j = {}, 0, 0
    while i < len(a) and j < len(b):
        if a[i][1] == b[j][1] and length[i][j] == length[i + 1][j + 1] + 1:
            pairs[a[i][0]] = b[j][0]
            i, j = i + 1, j + 1
        elif length[i + 1][j] >= length[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
