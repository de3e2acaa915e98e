"""The words of the bench's tables and figures."""

from __future__ import annotations

from pathlib import Path

from shared.reporting.words import Text, read_words


def bench_words() -> dict[str, Text]:
    """For each key, a text in both languages."""
    return read_words(Path(__file__).with_name("words.yaml"))


def say(key: str, code: str = "en", **values: str) -> str:
    """A text in a language, with values in the place of the names in braces."""
    return bench_words()[key][code].format(**values)
