"""A run can be long, and one of very many, and costs no more for it."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.killed import ended, start

MEGABYTE = 2**20 // resource.getpagesize()


def endures(side: str, epochs: int, tmp_path: Path) -> None:
    """Train so many epochs of one batch; the second half has to cost what the first half did."""
    run = start(
        side, tmp_path / "run", None, "--max_epochs", str(epochs), "--batch_size", "80",
        "--checkpoint_every_n_steps", "1000000", "--log_every_n_steps", "10",
    )  # fmt: skip
    assert ended(run, seconds=3600).status == 0
    samples = json.loads(Path(run.log).with_suffix(".json").read_text())["samples"]
    assert len(samples) >= epochs
    # Not the first epochs, in which buffers and caches come to their size.
    files, pages, points = zip(*samples[epochs // 10 : epochs], strict=True)
    half = len(files) // 2
    assert set(files) == {files[0]}, "files are left open"
    assert max(pages[half:]) - max(pages[:half]) < 8 * MEGABYTE, "memory grows"
    assert points[-1] - points[half] <= 1.1 * (points[half] - points[0]), "points grow"
    assert points[-1] < 1000 * epochs, "an epoch writes too many points"
    assert len(list((tmp_path / "run").glob("events*"))) <= 3


@pytest.mark.long
@pytest.mark.fault("a run of very many epochs", kind="failures")
def test_memory_open_files_and_points_stay_flat(side, tmp_path, fault):
    endures(side, 30, tmp_path)
    fault.sees("no more memory or open files at the end than at the start")


@pytest.mark.chaos
@pytest.mark.fault("a run of very many epochs", kind="failures")
def test_they_stay_flat_over_10000_epochs(side, tmp_path):
    endures(side, 10_000, tmp_path)


@pytest.fixture(scope="module")
def operations() -> Callable[..., list[str]]:
    """`operations(call)`: what the call asks of the file system below the current folder."""
    heard: list[str] | None = None
    names = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove")

    def hear(event: str, arguments: tuple) -> None:
        if heard is not None and event in names and isinstance(arguments[0], (str, Path)):
            path = Path(arguments[0]).absolute()
            if path.is_relative_to(Path.cwd()):
                heard.append(event)

    sys.addaudithook(hear)  # it cannot be taken away, only told to be silent

    def operations(call: Callable[[], Any]) -> list[str]:
        nonlocal heard
        heard = []
        try:
            call()
            return heard
        finally:
            heard = None

    return operations


@pytest.mark.fault("a thousand runs in one folder", kind="failures")
@pytest.mark.usefixtures("quarter_of_the_digits")
def test_a_run_beside_a_thousand_others_asks_no_more_of_the_disk(
    side, operations, fit, monkeypatch, fault
):
    asked = {}
    for count in (1, 1000):
        parent = Path(str(count), "runs", side, "digits")
        for version in range(count):
            (parent / f"version_{version}" / "checkpoints").mkdir(parents=True)
        monkeypatch.chdir(str(count))
        asked[count] = operations(lambda: fit(side))
        assert (Path("runs", side, "digits") / f"version_{count}" / "summary.json").is_file()
        os.chdir("..")
    assert len(asked[1]) > 10
    assert len(asked[1000]) == len(asked[1])
    fault.sees("a run starts with as many operations on files as beside one other")
