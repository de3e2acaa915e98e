"""Words in English and Traditional Chinese, from `words.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

LANGUAGES = {"en": "en", "zh": "zh-Hant-TW"}


@cache
def words() -> dict[str, dict[str, str]]:
    """For each key, its words by language: en and zh."""
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))


def english(key: str) -> str:
    return words()[key]["en"]
