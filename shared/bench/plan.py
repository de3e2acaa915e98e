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
# Beside which a start is held: see `timed/bare.py`.
BARE = ("torch", "optimizer", "pytorch_lightning")
# Parts whose runs are too short for a process each: those of one name here are made in one, one by
# one.
SERIES = {
    "limit": "limit", "ladder": "ladder",
    "steps": "growth", "epochs": "growth", "batch_size": "growth", "workers": "growth",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One kind of run.

    Attributes:
        part: the table or figure it belongs to.
        point: where it stands on the axis of that figure, as text.
        who: a side, the limit, a rung of the ladder, or what is bare.
        flags: those of train.
        images: training images of an epoch.
        epochs: how many epochs are timed.
        copies: how many of the same run beside each other.
        processes: how many processes train one model.
        only_start: stop at the first step.
    """

    part: str
    point: str
    who: str
    flags: tuple[str, ...]
    images: int
    batch_size: int = 64
    epochs: int = 1
    copies: int = 1
    processes: int = 1
    only_start: bool = False

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.images / self.batch_size / self.processes)

    @property
    def steps(self) -> int:
        """How many of them one process takes in all."""
        if self.only_start:
            return 1
        if self.part == "ladder":  # the one epoch that is timed, and the step after it
            return self.steps_per_epoch + 1
        return self.epochs * self.steps_per_epoch

    def arguments(self, run_dir: Path | None = None) -> list[str]:
        """The flags of train, all of them."""
        return [
            "--batch_size", str(self.batch_size), "--max_epochs", str(self.epochs),
            *(["--run_dir", str(run_dir), "--progress_bar", "false"] if run_dir else []),
            *self.flags,
        ]  # fmt: skip


def plan(mnist: Path | None, noise: Path, quick: bool) -> list[tuple[Task, int]]:
    """What to run, and which repetition it is. Those who are compared alternate, and every second
    round goes backwards, so that a machine that grows slower meets them alike.

    Args:
        mnist: the folder of MNIST's files, if they are there.
        noise: a folder for pictures of noise in the same format, which take as long.
    """
    digits = IMAGES["digits"]
    torch, optimizer, lightning = BARE
    starting = (torch, optimizer, SIDES[0], lightning, SIDES[1])
    runs = [
        *alternating(2 if quick else 3, "start", "", starting, (), digits, only_start=True),
        *alternating(2 if quick else 3, "digits", "", SIDES, (), digits, epochs=12),
    ]
    if mnist is not None and not quick:
        flags: tuple[str, ...] = ("--dataset", "mnist", "--data_dir", str(mnist))
        runs += alternating(2, "mnist", "", SIDES, flags, IMAGES["mnist"])
    for width in (16,) if quick else WIDTHS:
        images = 64 * {16: 60, 32: 40, 48: 30}[width]
        flags = (*pictures(noise, images), "--width", str(width))
        runs += alternating(4, "limit", str(width), (*SIDES, "limit"), flags, images)
    runs += alternating(
        3 if quick else 20, "ladder", "", RUNGS, ("--width", "1"), digits, 16, epochs=2
    )
    if quick:
        return runs
    for part, copies in (("alone", 1), ("beside", 2)):
        for repeat in range(2):
            for side in SIDES if repeat % 2 == 0 else SIDES[::-1]:
                for threads in (1, 2):
                    flags = ("--threads", str(threads))
                    task = Task(part, str(threads), side, flags, digits, epochs=6, copies=copies)
                    runs.append((task, repeat))
    for images, epochs in ((160, 6), (640, 3), (2560, 1)):
        flags = pictures(noise, images)
        runs += alternating(5, "steps", str(images // 8), SIDES, flags, images, 8, epochs=epochs)
    for epochs in (1, 3, 6):
        runs += alternating(3, "epochs", str(epochs), SIDES, (), digits, epochs=epochs)
    for batch_size, epochs in ((8, 1), (64, 2), (256, 3)):
        point = str(batch_size)
        runs += alternating(4, "batch_size", point, SIDES, (), digits, batch_size, epochs=epochs)
    for workers in (0, 2):
        flags = ("--num_workers", str(workers))
        runs += alternating(3, "workers", str(workers), SIDES, flags, digits, epochs=2)
    for count in (1, 2, 4):
        flags = ("--devices", str(count))
        runs += alternating(
            1, "processes", str(count), SIDES, flags, digits, epochs=6, processes=count
        )
    return runs


def pictures(noise: Path, images: int) -> tuple[str, ...]:
    """The flags for so many pictures of noise."""
    return "--dataset", "mnist", "--data_dir", str(noise / str(images))


def alternating(
    repeats: int,
    part: str,
    point: str,
    whos: Iterable[str],
    flags: tuple[str, ...],
    images: int,
    batch_size: int = 64,
    *,
    epochs: int = 1,
    processes: int = 1,
    only_start: bool = False,
) -> Iterator[tuple[Task, int]]:
    """The same task of each, in turn, and the number of the repetition."""
    tasks = [
        Task(
            part, point, who, flags, images, batch_size, epochs,
            processes=processes, only_start=only_start,
        )
        for who in whos
    ]  # fmt: skip
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
