"""Words in English and Traditional Chinese, from `words.yaml` and `mistakes.yaml`."""

from __future__ import annotations

from functools import cache

import yaml

from shared.compare.source.lines import ROOT

LANGUAGES = {"en": "en", "zh": "zh-Hant-TW"}


@cache
def words() -> dict[str, dict[str, str]]:
    """For each key, its words by language: en and zh."""
    return yaml.safe_load((ROOT / "shared/compare/words.yaml").read_text(encoding="utf-8"))


@cache
def mistakes() -> dict[str, dict[str, str]]:
    """For the name of each mistake of the gallery, its name in Chinese, zh, and what Lightning
    makes of it."""
    text = (ROOT / "shared/mistakes/mistakes.yaml").read_text(encoding="utf-8")
    return {entry["mistake"]: entry for entry in yaml.safe_load(text)}


def english(key: str) -> str:
    return words()[key]["en"]
