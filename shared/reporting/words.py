"""What the instruments say in English and in Traditional Chinese."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

# The languages by their codes, as HTML names them.
LANGUAGES = {"en": "en", "zh": "zh-Hant-TW"}
# The same text by code.
Text = dict[str, str]


@cache
def read_words(path: Path) -> dict[str, Text]:
    """The words of an instrument: for each key, a text in both languages."""
    words: dict[str, Text] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return words
