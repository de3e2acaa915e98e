"""What ends a program becomes one line and an exit status."""

from __future__ import annotations

import sys

import pytest
from tqdm import tqdm

from shared.errors import Interrupted, RunError, UsageError, counted, fail, run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("--seed: no"), 2, "--seed: no"),
        (RunError("a.gz: damaged"), 1, "a.gz: damaged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("interrupted after epoch 3"), 130, "interrupted after epoch 3"),
        (
            PermissionError(13, "Permission denied", "x"),
            1,
            "x: Permission denied; choose a folder you may write to with --run_dir",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "No space left on device; free some space or give another --run_dir",
        ),
        (OSError("odd"), 1, "odd"),
        (ValueError("first\nsecond"), 1, "ValueError: first (DEBUG=1 shows where)"),
        (ValueError(), 1, "ValueError: no message (DEBUG=1 shows where)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_ends_a_run_becomes_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as leaving:
        run(command)
    assert leaving.value.code == status
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_traceback_is_there_for_who_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", "1")
    with pytest.raises(SystemExit):
        run(lambda: 1 / 0)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: ZeroDivisionError: division by zero (DEBUG=1 shows where)\n")


def test_a_message_stands_on_a_line_of_its_own_after_a_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = tqdm(total=9, file=sys.stdout)
    bar.update(3)
    with pytest.raises(SystemExit):
        fail("it broke", 1)
    out, err = capsys.readouterr()
    assert "3/9" in out
    assert out.endswith("\n")
    assert err == "error: it broke\n"


def test_one_is_counted_without_an_s() -> None:
    assert counted(1, "epoch") == "1 epoch"
    assert counted(0, "epoch") == "0 epochs"
    assert counted(2, "process", "processes") == "2 processes"
