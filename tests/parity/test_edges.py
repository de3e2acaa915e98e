"""Both sides agree at the edges of what their flags take: they end with the same status, words,
files and weights, whether a run ends well, fails or is stopped, and so do those that resume it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fewer import fewer
from support.programs import Outcome
from support.record import SIDES, at_batch

import shared.data
from shared.checkpoints import read_checkpoint

TRAIN, OTHERS = 40, 18


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    few = fewer(shared.data.load, slice(TRAIN), slice(OTHERS))
    monkeypatch.setattr(shared.data, "load", few)


EDGES: dict[str, list[Any]] = {
    "lr": [1e-30, 1e-2, 1.0, 100.0],
    "weight_decay": [0.0, 5e-2, 100.0],
    "batch_size": [2, OTHERS - 1, OTHERS + 1, TRAIN - 1, TRAIN, TRAIN + 1, 1_000_000],
    "max_epochs": [1, 2, 3],
    "accumulate_grad_batches": [1, 2, 3, 1_000_000],
    "gradient_clip_val": [None, 1e-30, 0.5, 1e30],
    "early_stopping_patience": [None, 1, 2],
    "checkpoint_every_n_steps": [None, 1, 2],
    "log_every_n_steps": [1, 50],
    "dropout": [0.0, 0.999],
    "width": [1, 4],
    "seed": [0, 2**32 - 1],
    "precision": ["32-true", "bf16-mixed"],
    "num_workers": [0, 0, 0, 1],
}
# The batch of the run, counted over its epochs, at which a signal comes; None for none.
STOPS = st.one_of(st.none(), st.integers(0, 12))
OPTIONS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in EDGES.items()}
)


def flags(options: dict[str, Any]) -> list[str]:
    pairs = {"max_epochs": 2, "width": 4, "accelerator": "cpu", **options}.items()
    return [word for name, value in pairs if value is not None for word in (f"--{name}", value)]


def neutral(text: str, side: str) -> str:
    """Words without the name of the side, the time that it took, and line that names the other."""
    lines = [line for line in text.splitlines() if not re.match("raw_pytorch|lightning", line)]
    return re.sub(r"\d+\.\d\d s$", "", "\n".join(lines).replace(side, "SIDE"), flags=re.MULTILINE)


def ends(command: Callable[..., Outcome], side: str, stop: int | None, *words: Any) -> Any:
    """What a run comes to: its status, its words, and the weights in each of its checkpoints."""
    stopping: Any = contextlib.nullcontext()
    if stop is not None:
        stopping = at_batch(stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with stopping:
        done = command(side, "train", "--run_dir", f"runs/{side}", *words)
    found = [p for p in Path(f"runs/{side}").rglob("*") if p.suffix in (".ckpt", ".json")]
    files = {path.name: path for path in found}
    weights = {n: read_checkpoint(p)["state_dict"] for n, p in files.items() if n[-4:] == "ckpt"}
    return done.status, neutral(done.out, side), neutral(done.err, side), sorted(files), weights


def assert_alike(raw: Any, lightning: Any) -> None:
    assert raw[:-1] == lightning[:-1]
    for name, weights in raw[-1].items():
        for key, tensor in weights.items():
            assert torch.equal(tensor, lightning[-1][name][key]), (name, key)


@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.chaos)])
def test_both_sides_end_alike_with_any_flags(examples: int, command: Any) -> None:
    statuses: list[int] = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(OPTIONS, STOPS)
    def any_flags(options: dict[str, Any], stop: int | None) -> None:
        shutil.rmtree("runs", ignore_errors=True)
        words = flags(options)
        raw, lightning = (ends(command, side, stop, *words) for side in SIDES)
        assert_alike(raw, lightning)
        statuses.append(raw[0])
        if raw[0] == 130 and "last.ckpt" in raw[3]:
            resumed = (ends(command, side, None, "--ckpt_path", "last", *words) for side in SIDES)
            assert_alike(*resumed)

    any_flags()
    assert 0 in statuses
    if examples > 5:
        assert set(statuses) == {0, 1, 130}
