"""The seam is where we say: a table trains on both sides, by its own data and network alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import table

import shared.data
from shared.config import Config


def test_a_table_trains_to_the_same_weights_on_both_sides(
    fit: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"in_shape": table.IN_SHAPE, "classes": list(table.INFO.classes)}
    monkeypatch.setattr(shared.data, "load", table.load)
    monkeypatch.setattr(Config, "_task", lambda config: task)
    options = dict(model=f"{table.__file__}:MLP", max_epochs=10, batch_size=16)
    raw, lightning = (fit(side, **options) for side in ("raw_pytorch", "lightning"))
    assert raw["weights_sha256"] == lightning["weights_sha256"]
    assert raw["train_images"] == 118
    assert raw["parameters"] == 13 * 32 + 32 + 32 * 3 + 3
    assert raw["test_accuracy"] == lightning["test_accuracy"] > 0.9
