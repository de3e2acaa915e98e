"""The catalogue of mistakes: what catalogue.yaml says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.mistakes.edits import Edit
from shared.reporting.words import Text

# The last whole gallery, which everybody has who has not made one.
GALLERY = Path(__file__).with_name("measured.json")
# What becomes of a mistake with Lightning.
VERDICTS = IMPOSSIBLE, POSSIBLE, TRAP = "impossible", "still possible", "another trap"


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        name: in English, by which it is known; `shown` has it in both languages.
        verdict: one of `VERDICTS`.
        lightning: what Lightning makes of it.
        cause, step: what the divergence tool has to find, and at which optimizer step.
        wrong: the changes that make it.
        right: changes of the run without it too, so that there is something to spoil.
        twin: the same mistake on the Lightning side.
        options: flags of both runs.
        side: where it is made.
    """

    name: str
    shown: Text
    verdict: str
    lightning: Text
    cause: str
    step: int
    wrong: tuple[Edit, ...]
    right: tuple[Edit, ...] = ()
    twin: tuple[Edit, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    side: str = "raw_pytorch"


@cache
def mistakes() -> tuple[Mistake, ...]:
    """All of them, in the order of the catalogue."""
    text = Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8")
    return tuple(_mistake(entry) for entry in yaml.safe_load(text))


def twins() -> tuple[Mistake, ...]:
    """The mistakes that Lightning leaves possible, made on the Lightning side."""
    return tuple(
        dataclasses.replace(mistake, wrong=mistake.twin, right=(), twin=(), side="lightning")
        for mistake in mistakes()
        if mistake.twin
    )


def _mistake(entry: dict[str, Any]) -> Mistake:
    shown = entry.pop("name")
    for part in ("wrong", "right", "twin"):
        entry[part] = tuple(Edit(**edit) for edit in entry.get(part, ()))
    return Mistake(name=shown["en"], shown=shown, **entry)
