"""Programs run in this process while the divergence tool's recorder looks on."""

from __future__ import annotations

import contextlib
import importlib
import runpy
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shared.config import Config
from shared.divergence.recording.recorder import Enough, Recorder
from shared.divergence.records import Run, read

Item = TypeVar("Item")


def recorded(
    program: Callable[[], Any],
    path: Path,
    steps: int = 20,
    nudge: tuple[int, float] | None = None,
) -> Run:
    """What a program does in this process, up to `steps` optimizer steps. What it is warned of is
    its own affair."""
    with warnings.catch_warnings(), contextlib.suppress(Enough), Recorder(path, steps, nudge):
        warnings.simplefilter("ignore")
        program()
    return read(path)


def script(path: Path, *arguments: object) -> Callable[[], Any]:
    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
            runpy.run_path(str(path), run_name="__main__")

    return run


def training(side: str, run_dir: Path, **options: Any) -> Callable[[], Any]:
    config = Config(**{"accelerator": "cpu", "run_dir": str(run_dir), **options})
    return lambda: importlib.import_module(f"{side}.train").train(config)


def one_of_each(items: Iterable[Item], kind: Callable[[Item], str]) -> list[Item]:
    """The first item of each kind, as a sample of all."""
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(kind(item), item)
    return list(found.values())
