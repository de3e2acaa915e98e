"""Each common change, made in a copy of the project with the very lines that its page shows, trains
both sides to the same weights."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.fewer import fewer
from support.record import SIDES, Record, assert_equal_runs, points, recording
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shared.mistakes.edits import Edit, apply
from shared.processes import ROOT

PAGE = (ROOT / "shared" / "changes" / "README.md").read_text(encoding="utf-8")
PACKAGES = (*SIDES, "shared")
TIMES = {"": 1, ", three times": 3}


@dataclass
class Change:
    """Edits of files that there are, and the text of new ones."""

    edits: dict[str, list[Edit]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def changes() -> dict[str, Change]:
    """What the page shows, by its headings."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        name, _, text = section.partition("\n")
        change = found[name] = Change()
        files: list[str] = []
        times = 1
        for place, block in re.findall(r"^(In `[^\n]*):$|^```diff\n(.*?)^```$", text, re.M | re.S):
            if place:
                files, times = re.findall("`(.*?)`", place), TIMES[place.rpartition("`")[2]]
                continue
            lines = block.splitlines()
            # A comma at the end of either may be the last one within brackets, which is no token.
            before = "\n".join(line[1:] for line in lines if line[:1] != "+").removesuffix(",")
            after = "\n".join(line[1:] for line in lines if line[:1] != "-").removesuffix(",")
            for file in files:
                change.edits.setdefault(file, []).append(Edit(file, before, after, times))
        new = re.findall(r"^In a new file, `(.*)`:\n\n```python\n(.*?)^```$", text, re.M | re.S)
        change.files = dict(new)
    return found


CHANGES = changes()
# Trained by itself, with flags of its own.
TABLE = "Data that is no picture"
# What leaves the weights as they are, and so has to be seen otherwise.
SAME_WEIGHTS = {
    "A batch that is a dictionary", "Test the last weights instead of the best", "Log a picture",
}  # fmt: skip


@contextlib.contextmanager
def changed_project(folder: Path, change: Change) -> Iterator[None]:
    """Import both sides, and what they share, from a copy of the project with a change in it."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "measured*", "*.png")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for file, edits in change.edits.items():
        (folder / file).write_text(apply((ROOT / file).read_text(), edits))
    for file, text in change.files.items():
        (folder / file).write_text(text)
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] in PACKAGES}
    try:
        _forget()
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(str(folder))
        _forget()
        sys.modules.update(before)


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]


def pictures(run_dir: Path) -> list[tuple[int, bytes]]:
    """The pictures of batches in TensorBoard, with their steps."""
    events = EventAccumulator(str(run_dir), size_guidance={"images": 0}).Reload()
    tags = [tag for tag in events.Tags()["images"] if tag.startswith("train/")]
    found = [image for tag in tags for image in events.Images(tag)]
    return [(image.step, image.encoded_image_string) for image in found]


def trained(folder: Path, change: Change, **flags: Any) -> dict[str, Record]:
    """Both sides, in a copy of the project with a change. The best epoch is not the last one, and
    some gradients are large."""
    records = {}
    with changed_project(folder / "project", change):
        data = importlib.import_module("shared.data")
        if not flags:
            data.load = fewer(data.load, slice(1, None, 4))
        config = importlib.import_module("shared.config").Config
        for side in SIDES:
            options = dict(max_epochs=7, batch_size=24, dropout=0.2, log_every_n_steps=4)
            run = config(run_dir=str(folder / side), accelerator="cpu", **options | flags)
            with recording() as records[side]:
                train = importlib.import_module(f"{side}.train").train
                records[side].summary = train(run)
            resumed = dataclasses.replace(run, ckpt_path="last")
            last = folder / side / "checkpoints" / "last.ckpt"
            importlib.import_module("shared.checkpoints").check_checkpoint(
                last, resumed, resume=True
            )
    return records


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Record:
    records = trained(tmp_path_factory.mktemp("unchanged"), Change())
    assert_equal_runs(records["raw_pytorch"], records["lightning"])
    return records["raw_pytorch"]


def test_the_page_has_all_that_people_ask_for() -> None:
    assert len(CHANGES) == 11
    assert all(change.edits for change in CHANGES.values())
    assert CHANGES.keys() >= SAME_WEIGHTS


@pytest.mark.parametrize("name", CHANGES)
def test_its_lines_are_those_of_the_project(name: str) -> None:
    for file, edits in CHANGES[name].edits.items():
        ast.parse(apply((ROOT / file).read_text(), edits))
    for file, text in CHANGES[name].files.items():
        assert not (ROOT / file).exists()
        ast.parse(text)


def test_a_table_trains_to_the_same_weights_on_both_sides(tmp_path: Path) -> None:
    change = CHANGES[TABLE]
    assert not any(file.startswith(SIDES) for file in [*change.edits, *change.files])
    model = f"{tmp_path}/project/shared/data/wine.py:MLP"
    flags = dict(dataset="wine", model=model, max_epochs=10, batch_size=16, lr=0.01)
    records = trained(tmp_path, change, **flags)
    assert_equal_runs(records["raw_pytorch"], records["lightning"])
    summary = records["raw_pytorch"].summary
    assert summary["train_images"] == 118
    assert summary["parameters"] == 13 * 32 + 32 + 32 * 3 + 3
    assert summary["test_accuracy"] > 0.9


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CHANGES if name != TABLE])
def test_both_sides_end_with_the_same_weights(name: str, unchanged: Record, tmp_path: Path) -> None:
    records = trained(tmp_path, CHANGES[name])
    raw = records["raw_pytorch"]
    assert_equal_runs(raw, records["lightning"])
    is_same = raw.summary["weights_sha256"] == unchanged.summary["weights_sha256"]
    assert is_same == (name in SAME_WEIGHTS)
    tests_the_same = raw.summary["test_loss"] == unchanged.summary["test_loss"]
    assert tests_the_same == (is_same and not name.startswith("Test"))
    logged = {side: points(tmp_path / side) for side in SIDES}
    steps = [{tag: sorted(found) for tag, found in logged[side].items()} for side in SIDES]
    assert steps[0] == steps[1]
    images = [pictures(tmp_path / side) for side in SIDES]
    assert images[0] == images[1]
    first = list(range(0, 98, 14))  # steps of each epoch
    assert [step for step, _ in images[0]] == (first if name == "Log a picture" else [])
