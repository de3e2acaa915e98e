"""The words of the page and of the terminal."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from shared.bench.words import bench_words
from shared.reporting.words import Text, read_words


@cache
def compare_words() -> dict[str, Text]:
    """For each key, a text in both languages; those of the bench among them."""
    return {**bench_words(), **read_words(Path(__file__).with_name("words.yaml"))}


def english(key: str) -> str:
    return compare_words()[key]["en"]
