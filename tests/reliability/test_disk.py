"""A disk that is full, a folder that cannot be written to or is gone: a run says so in one line and
ends with status 1, and what it had saved before is whole and good to go on from."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fewer import few
from support.programs import Outcome
from support.record import at_batch

from shared.checkpoints import read_checkpoint

pytestmark = pytest.mark.usefixtures("quarter_of_the_digits")

NOBODY = 65534
RECIPE = (
    "--max_epochs", 3, "--batch_size", 64, "--width", 4, "--accelerator", "cpu",
    "--log_every_n_steps", 1,
)  # fmt: skip
BATCHES = 5  # of an epoch


def system(*command: object) -> None:
    """Run a command that only the machine's owner may; without it, a test cannot be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip(f"{command[0]}: for this test, root on Linux is needed")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} is not possible on this machine: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes; a run takes one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    system("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As root, permissions do not bind; as nobody they do. The file system asks for the effective
    user only."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user of this machine can reach, as the current one."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103  for the user nobody
        monkeypatch.chdir(folder)
        yield Path(folder)
        monkeypatch.undo()


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def good_to_go_on(side: str, command: Callable[..., Outcome]) -> Callable[[Path, int], None]:
    """`good_to_go_on(run, epochs)`: all checkpoints are whole, the last one is of so many epochs,
    and the run resumes and ends as one that was never disturbed."""

    def check(run: Path, epochs: int) -> None:
        for path in (run / "checkpoints").iterdir():
            assert read_checkpoint(path)
        assert read_checkpoint(run / "checkpoints" / "last.ckpt")["ImageData"]["epoch"] == epochs
        resumed = command(side, "train", "--run_dir", run, "--ckpt_path", "last", *RECIPE)
        assert resumed.status == 0, resumed.err
        whole = command(side, "train", "--run_dir", "undisturbed", *RECIPE)
        weights = [
            [line for line in done.out.splitlines() if line.startswith("weights ")]
            for done in (resumed, whole)
        ]
        assert weights[0] == weights[1]

    return check


@pytest.mark.fault("a full disk", kind="disk")
@pytest.mark.parametrize("batch", few([BATCHES, 2 * BATCHES + 2], [BATCHES]))
def test_a_disk_that_fills_up_ends_the_run_and_spares_its_checkpoints(
    batch: int,
    side: str,
    small_disk: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    good_to_go_on: Callable[[Path, int], None],
    fault: Any,
) -> None:
    run = small_disk / "run"
    with at_batch(batch, lambda: fill(small_disk)):
        done = command(side, "train", "--run_dir", run, *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "No space left on device; free some space or give another --run_dir")
    fault.sees(done.err)
    assert not (run / "summary.json").exists()
    (small_disk / "filler").unlink()
    good_to_go_on(run, batch // BATCHES)


@pytest.mark.fault("a full disk", kind="disk")
def test_a_disk_that_was_full_before_ends_the_run_at_once(
    side: str, small_disk: Path, command: Callable[..., Outcome], one_line: Callable[..., None]
) -> None:
    fill(small_disk)
    done = command(side, "train", "--run_dir", small_disk / "run", *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "No space left on device; free some space")


@pytest.mark.fault("a folder that cannot be written to", kind="disk")
def test_a_read_only_disk_is_named(
    side: str,
    small_disk: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    system("mount", "-o", "remount,ro", small_disk)
    done = command(side, "train", "--run_dir", small_disk / "run", *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, small_disk / "run", "Read-only file system; choose a folder you may write")
    fault.sees(done.err)


@pytest.mark.fault("a folder that cannot be written to", kind="disk")
@pytest.mark.parametrize("options", [(), ("--run_dir", "run"), ("--run_dir", "a/b/run")], ids=str)
def test_a_folder_without_permission_is_named(
    options: tuple[str, ...],
    side: str,
    public: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
) -> None:
    os.chmod(public, 0o555)  # noqa: S103
    with unprivileged():
        done = command(side, "train", *options, *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "Permission denied; choose a folder you may write to with --run_dir")
    assert list(public.iterdir()) == []


@pytest.mark.fault("a folder that cannot be written to", kind="disk")
@pytest.mark.parametrize("program", ["train", "test", "predict"])
def test_a_checkpoint_that_may_not_be_read_is_named(
    program: str,
    side: str,
    public: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
) -> None:
    Path("secret.ckpt").write_bytes(b"")
    os.chmod("secret.ckpt", 0o000)
    with unprivileged():
        done = command(side, program, "--ckpt_path", "secret.ckpt")
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "secret.ckpt: Permission denied")


@pytest.mark.fault("a folder that cannot be written to", kind="disk")
def test_a_folder_that_is_locked_during_a_run_keeps_its_checkpoints(
    side: str,
    tmp_path: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    good_to_go_on: Callable[[Path, int], None],
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    Path("try").mkdir()
    system("chattr", "+i", "try")
    system("chattr", "-i", "try")
    try:
        with at_batch(2 * BATCHES, lambda: system("chattr", "+i", folder)):
            done = command(side, "train", "--run_dir", "run", *RECIPE)
    finally:
        subprocess.run(["chattr", "-i", str(folder)], check=False)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "Operation not permitted; choose a folder you may write to with --run_dir")
    good_to_go_on(Path("run"), 2)


@pytest.mark.fault("a run folder deleted during the run", kind="disk")
@pytest.mark.parametrize("part", [".", "checkpoints"])
def test_a_run_whose_folder_is_deleted_says_so_and_makes_no_other(
    part: str,
    side: str,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    folder = Path("run") / part
    with at_batch(2 * BATCHES, lambda: shutil.rmtree(folder)):
        done = command(side, "train", "--run_dir", "run", *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "run", "No such file or directory")
    fault.sees(done.err)
    assert not folder.exists()


LONG = {"a name": "x" * 300, "a path": "x/" * 2100 + "x"}


@pytest.mark.fault("an odd path", kind="disk")
@pytest.mark.parametrize("flag", ["run_dir", "ckpt_path", "data_dir"])
@pytest.mark.parametrize("long", LONG)
def test_a_path_that_is_too_long_is_answered_in_one_line(
    long: str,
    flag: str,
    side: str,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    done = command(side, "train", "--dataset", "mnist", f"--{flag}", LONG[long], *RECIPE)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "File name too long; choose a shorter path")
    fault.sees(done.err)


@pytest.mark.fault("an odd path", kind="disk")
@pytest.mark.parametrize(
    "name",
    [
        "my 手書き ñ ё",
        pytest.param('it\'s "quoted" `x` <script>alert(1)</script>', marks=pytest.mark.long),
        pytest.param("-run", marks=pytest.mark.long),
    ],
)
def test_a_run_folder_of_any_name_is_trained_into_tested_and_resumed(
    name: str, side: str, command: Callable[..., Outcome]
) -> None:
    recipe = ("--max_epochs", 1, "--accelerator", "cpu", "--width", 4)
    run = Path("in") / name
    done = command(side, "train", f"--run_dir={run}", *recipe)
    assert (done.status, done.err) == (0, "")
    assert {"config.yaml", "summary.json", "checkpoints"} <= {path.name for path in run.iterdir()}
    assert list(run.glob("events.out.*"))
    for options in ((f"--run_dir={run}",), (f"--ckpt_path={run}/checkpoints/best.ckpt",)):
        assert command(side, "test", *options).status == 0
    assert command(side, "predict", f"--run_dir={run}").status == 0
    again = command(side, "train", f"--config={run}/config.yaml", "--ckpt_path", "last")
    assert (again.status, again.out.splitlines()[5:7]) == (0, done.out.splitlines()[5:7])
