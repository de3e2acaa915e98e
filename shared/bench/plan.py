"""The runs of the bench, in the order in which they are made."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.bench.timed.ladder import RUNGS
from shared.files import SIDES, write_atomically

# Training images; noise() makes as many as are asked for.
IMAGES = {"digits": 1257, "mnist": 55_000}
WIDTHS = (16, 32, 48)


@dataclass(frozen=True)
class Task:
    """One kind of run.

    Attributes:
        part: the table or figure it belongs to.
        point: where it stands on the axis of that figure, as text.
        who: a side, the limit, or a rung of the ladder.
        flags: those of train.
        images: training images of an epoch.
        epochs: how many epochs are timed.
        whole: whether it runs to its end, test included, or only to the step after these epochs.
        steps: stop after so many steps within the first epoch instead.
    """

    part: str
    point: str
    who: str
    flags: tuple[str, ...]
    images: int
    batch_size: int = 64
    epochs: int = 1
    whole: bool = False
    steps: int = 0

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.images / self.batch_size)

    @property
    def limit(self) -> int:
        """After how many steps to stop; 0 for never."""
        return 0 if self.whole else self.steps or self.epochs * self.steps_per_epoch + 1

    def program(self, run_dir: Path) -> list[str]:
        """The command line, but for the interpreter."""
        program = ["shared.bench.timed.limit"] if self.who == "limit" else [self.who, "train"]
        # One more where it is stopped in the epoch after: to time an epoch takes the next one.
        epochs = self.epochs + (not self.whole)
        return [
            "-m", *program, "--batch_size", str(self.batch_size), "--max_epochs", str(epochs),
            "--run_dir", str(run_dir), "--progress_bar", "false", *self.flags,
        ]  # fmt: skip


def plan(mnist: Path | None, noise: Path, quick: bool) -> list[tuple[Task, int]]:
    """What to run, and which repetition it is. Those who are compared alternate, and every second
    round goes backwards, so that a machine that grows slower meets them alike.

    Args:
        mnist: the folder of MNIST's files, if they are there.
        noise: a folder for pictures of noise in the same format, which take as long.
    """
    digits = IMAGES["digits"]
    runs = [
        *alternating(SIDES, 2 if quick else 4, "digits", "", (), digits, epochs=12, whole=True),
    ]
    if mnist is not None and not quick:
        flags: tuple[str, ...] = ("--dataset", "mnist", "--data_dir", str(mnist))
        runs += alternating(SIDES, 3, "mnist", "", flags, IMAGES["mnist"])
    images = IMAGES["mnist"] if mnist is not None else 11_000
    flags = ("--dataset", "mnist", "--data_dir", str(mnist or noise / str(images)))
    for width in (16,) if quick else WIDTHS:
        wide = (*flags, "--width", str(width)) if width != 16 else flags
        steps = 120 if quick else {16: 260, 32: 160, 48: 110}[width]
        runs += alternating(
            (*SIDES, "limit"), 2 if quick else 3, "limit", str(width), wide, images, steps=steps
        )
    runs += alternating(RUNGS, 3 if quick else 15, "ladder", "", ("--width", "1"), digits, 16)
    if quick:
        return runs
    for images, epochs in ((160, 10), (640, 5), (2560, 3)):
        flags = ("--dataset", "mnist", "--data_dir", str(noise / str(images)))
        point = str(images // 8)
        runs += alternating(SIDES, 3, "steps", point, flags, images, 8, epochs=epochs)
    for batch_size, epochs in ((8, 2), (256, 12)):
        runs += alternating(
            SIDES, 3, "batch_size", str(batch_size), (), digits, batch_size, epochs=epochs
        )
    for workers in (1, 2):
        flags = ("--num_workers", str(workers))
        runs += alternating(SIDES, 3, "workers", str(workers), flags, digits, epochs=5)
    return runs


# Points of a figure that another part has measured already.
SHARED = {("batch_size", "64"): ("digits", ""), ("workers", "0"): ("digits", "")}


def alternating(
    whos: Iterable[str],
    repeats: int,
    part: str,
    point: str,
    flags: tuple[str, ...],
    images: int,
    batch_size: int = 64,
    *,
    epochs: int = 1,
    whole: bool = False,
    steps: int = 0,
) -> Iterator[tuple[Task, int]]:
    """The same task of each, in turn, and the number of the repetition."""
    tasks = [
        Task(part, point, who, flags, images, batch_size, epochs, whole, steps) for who in whos
    ]
    for repeat in range(repeats):
        yield from ((task, repeat) for task in (tasks if repeat % 2 == 0 else tasks[::-1]))


def make_noise(folder: Path, images: int) -> None:
    """Write pictures of noise in MNIST's format, of which so many are for training: a network takes
    as long for them as for others."""
    folder.mkdir(parents=True)
    count = images * 12 // 11
    while count - count // 12 < images:  # one in twelve is for validation
        count += 1
    for split, number in (("train", count), ("t10k", 24)):
        pixels = os.urandom(number * 28 * 28)
        labels = bytes(n % 10 for n in range(number))
        for name, shape, values in (
            ("images-idx3", (number, 28, 28), pixels),
            ("labels-idx1", (number,), labels),
        ):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            write_atomically(folder / f"{split}-{name}-ubyte", header + values)
