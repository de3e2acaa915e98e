"""Downloads, from servers on this machine: all that may go wrong with one."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fewer import few
from support.mirror import Mirror, write_files
from support.programs import ROOT, Outcome, wait_for

from shared.data import (
    download,
    load,
    prepare,
)
from shared.errors import RunError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def left_over(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def test_what_is_missing_is_downloaded_once(mirror: Mirror, small_files: dict[str, bytes]) -> None:
    prepare("mnist", "new/data")
    raw = Path("new/data/MNIST/raw")
    assert {path.name: path.read_bytes() for path in raw.glob("*.gz")} == small_files
    assert [path.name for path in Path("new/data").iterdir()] == ["MNIST"]
    asked = len(mirror.requests)
    assert asked >= 4
    prepare("mnist", "new/data")
    assert len(mirror.requests) == asked
    assert len(load("mnist", "new/data")["test"]) == 60


def test_the_original_files_pass_the_sums_that_torchvision_holds(
    real_mnist: Path, mirrors: Callable[[], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    mirror = mirrors()
    mirror.files = {path.name: path.read_bytes() for path in real_mnist.glob("*.gz")}
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url])
    prepare("mnist", "data")
    assert len(load("mnist", "data")["train"]) == 55000


def test_a_run_downloads_and_says_nothing_of_it(
    side: str, mirror: Mirror, command: Callable[..., Outcome]
) -> None:
    done = command(side, "train", "--dataset", "mnist", "--max_epochs", "1", "--accelerator", "cpu")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("dataset       mnist, 220 training images")
    assert len(done.out.splitlines()) == 8
    assert Path("data/MNIST/raw", f"{IMAGES}.gz").is_file()


def test_on_a_terminal_a_download_shows_its_progress(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare("mnist", "data")
    assert "100%" in capsys.readouterr().err


FAILURES = {
    "truncate": "cut off after",
    "corrupt": "wrong checksum",
    "503": "HTTP Error 503",
    "404": "HTTP Error 404",
    "redirect": "redirect",
    "close": "closed connection without response",
    "stall": "too slow: ",
    "drip": "too slow: ",
    "drip headers": "too slow: 0 bytes",
    "endless": "and no end",
}


def in_haste(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what never ends is given up soon, and nothing else is."""
    slow = behaviour in ("stall", "drip", "drip headers")
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 0.4 if slow else 30)
    monkeypatch.setattr(download, "DOWNLOAD_MOST", 1_000_000)


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("only", few([IMAGES, TEST_LABELS], [TEST_LABELS]))
@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_download_that_fails_leaves_nothing_and_a_second_one_succeeds(
    behaviour: str, only: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste(behaviour, monkeypatch)
    mirror.behaviour, mirror.only = behaviour, f"{only}.gz"
    with pytest.raises(RunError, match="--dataset mnist: the download failed") as error:
        prepare("mnist", "data")
    assert FAILURES[behaviour] in str(error.value)
    assert f"{only}.gz" in str(error.value)
    assert "give --data_dir a folder with the four original .gz files" in str(error.value)
    assert "\n" not in str(error.value)
    assert left_over(Path("data")) == []
    with pytest.raises(RunError, match="no mnist files in data"):
        load("mnist", "data")

    mirror.behaviour = None
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 30)
    prepare("mnist", "data")
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", few(FAILURES, ["404", "truncate", "stall"]))
def test_when_the_first_mirror_fails_the_second_is_asked(
    behaviour: str,
    mirror: Mirror,
    mirrors: Callable[[], Mirror],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torchvision.datasets

    in_haste(behaviour, monkeypatch)
    second = mirrors()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url, second.url])
    mirror.behaviour, mirror.only = behaviour, f"{LABELS}.gz"
    prepare("mnist", "data")
    assert set(second.requests) == {f"{LABELS}.gz"}
    assert len(load("mnist", "data")["test"]) == 60
    assert capsys.readouterr() == ("", "")


# How often a mirror is asked: what may pass is tried three times, anything else once.
ASKED = {"503": 3, "close": 3, "truncate": 3, "404": 1, "corrupt": 1, "stall": 1, "drip": 1}


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", few(ASKED, ["503", "404"]))
def test_only_what_may_pass_is_asked_for_again(
    behaviour: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste(behaviour, monkeypatch)
    mirror.behaviour = behaviour
    with pytest.raises(RunError, match="the download failed"):
        prepare("mnist", "data")
    assert mirror.requests == [f"{IMAGES}.gz"] * ASKED[behaviour]


@pytest.mark.fault("a download that fails or never ends", kind="data")
@pytest.mark.parametrize("behaviour", ["503", "close", "truncate"])
def test_a_mirror_that_answers_after_two_failures_is_waited_for_longer_each_time(
    behaviour: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download, "DOWNLOAD_RETRIES", (1.0, 4.0))
    monkeypatch.setattr(download.time, "sleep", waits.append)
    mirror.behaviour, mirror.only, mirror.times = behaviour, f"{LABELS}.gz", 2
    prepare("mnist", "data")
    assert [seconds for seconds in waits if seconds] == [1.0, 4.0]
    assert len(load("mnist", "data")["test"]) == 60


def test_a_slow_download_that_goes_on_is_not_given_up(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_haste("drip", monkeypatch)
    monkeypatch.setattr(download, "DOWNLOAD_LEAST", 5)
    mirror.behaviour, mirror.only = "drip", f"{IMAGES}.gz"
    # A byte each 20 ms, three times as long as it may stand still; then the rest, which is wrong.
    threading.Timer(1.2, mirror.closing.set).start()
    with pytest.raises(RunError, match="wrong checksum"):
        prepare("mnist", "data")


def test_when_all_mirrors_fail_each_is_named_with_its_reason(
    mirror: Mirror, mirrors: Callable[[], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    second = mirrors()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url, second.url])
    mirror.behaviour, second.behaviour = "503", "corrupt"
    with pytest.raises(RunError) as error:
        prepare("mnist", "data")
    assert f"{mirror.url}{IMAGES}.gz: HTTP Error 503" in str(error.value)
    assert f"{second.url}{IMAGES}.gz: wrong checksum" in str(error.value)


@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_failed_download_ends_a_run_in_one_line(
    side: str,
    mirror: Mirror,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    mirror.behaviour = "503"
    done = command(side, "train", "--dataset", "mnist", "--accelerator", "cpu")
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "--dataset mnist: the download failed", "HTTP Error 503", "--data_dir")
    fault.sees(done.err.replace(mirror.url, "http://mirror/"))


@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_machine_without_a_network_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(RunError, match=r"name resolution.*--data_dir a folder"):
        prepare("fashion-mnist", "data")
    assert left_over(Path("data")) == []


def test_the_timeout_of_the_process_is_put_back(mirror: Mirror) -> None:
    socket.setdefaulttimeout(123.0)
    prepare("mnist", "data")
    assert socket.getdefaulttimeout() == 123.0


@pytest.mark.fault("a damaged or wrong data file", kind="data")
def test_half_a_dataset_is_neither_mended_nor_trusted(
    mirror: Mirror, small_files: dict[str, bytes]
) -> None:
    write_files(Path("data/MNIST/raw"), {f"{IMAGES}.gz": small_files[f"{IMAGES}.gz"]})
    before = left_over(Path("data"))
    with pytest.raises(RunError, match=r"data holds MNIST, and not a complete mnist.*a new folder"):
        prepare("mnist", "data")
    assert left_over(Path("data")) == before
    assert mirror.requests == []


def test_two_downloads_at_once_both_end_well(mirror: Mirror) -> None:
    errors = []

    def download() -> None:
        try:
            prepare("mnist", "data")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in Path("data").iterdir()] == ["MNIST"]
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.long
@pytest.mark.fault("a download that fails or never ends", kind="data")
def test_a_download_that_is_killed_leaves_nothing_that_is_trusted(mirror: Mirror) -> None:
    mirror.behaviour, mirror.only = "stall", f"{TEST_IMAGES}.gz"
    # In a process of its own, which is told where the server is.
    code = (
        "import torchvision.datasets as d; from shared.data import prepare; "
        f"d.MNIST.mirrors = [{mirror.url!r}]; "
        f"d.MNIST.resources = {importlib.import_module('torchvision.datasets').MNIST.resources!r}; "
        "prepare('mnist', 'data')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        wait_for(mirror.stalled.is_set)
        assert left_over(Path("data")), "the download should be half done"
    finally:
        process.kill()
        process.wait()
    assert not Path("data/MNIST").exists()
    with pytest.raises(RunError, match="no mnist files"):
        load("mnist", "data")

    mirror.behaviour = None
    prepare("mnist", "data")
    assert len(load("mnist", "data")["test"]) == 60


@pytest.mark.parametrize("data_dir", ["file", "file/below"])
def test_a_data_dir_that_is_no_folder_is_named(
    data_dir: str, mirror: Mirror, command: Callable[..., Outcome], one_line: Callable[..., None]
) -> None:
    Path("file").write_text("a file")
    done = command("raw_pytorch", "train", "--dataset", "mnist", "--data_dir", data_dir)
    assert done.status == 1
    one_line(done.err, f"{data_dir}: ")
    assert mirror.requests == []
