"""What ends a program: three kinds of error, and the wrapper that turns any of them into one line
on stderr and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from shared import ranks
from shared.screen import open_screens


class UsageError(Exception):
    """The command was wrong: one line on stderr, exit status 2."""


class RunError(Exception):
    """The run failed for a reason a person can mend: one line on stderr, exit status 1."""


class Interrupted(BaseException):
    """A signal ended the run: one line on stderr, exit status 130.

    It is no `Exception`, like `KeyboardInterrupt`, so that no `except Exception` on the way out,
    ours or a library's, takes it for a failure.
    """


def shown(value: Any, limit: int = 60) -> str:
    """A value as an error line repeats it: as Python writes it, and not at any length."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def counted(number: int, one: str, many: str = "") -> str:
    """`1 epoch`, `3 epochs`; `many` is the plural where it takes more than an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def in_one_line(error: BaseException, limit: int = 200) -> str:
    """What an error says, on one line; its kind if it says nothing."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def fail(message: str, status: int) -> NoReturn:
    """End with one line on stderr. All processes of a run see a wrong command or an interrupt, and
    the first speaks for them; another kind of failure may be the matter of one process alone."""
    _end_progress_bars()
    if ranks.rank() == 0:
        print(f"error: {message}", file=sys.stderr)
    elif status == 1:
        print(f"error: process {ranks.rank()}: {message}", file=sys.stderr)
    if status == 130:  # what is left to do may take a while, and is worth no waiting for
        _handle_signals(lambda *_: os._exit(130))
    raise SystemExit(status)


# Ctrl+C, the end of a job, a terminal that was closed, and Slurm's warning before the end; Windows
# has the first two.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
ENDING = [number for number in signal.Signals if number.name in NAMES]


def ignore_signals() -> None:
    """A second signal while the last line is written would print a traceback after all."""
    _handle_signals(signal.SIG_IGN)


def _handle_signals(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, handler)


def warn(message: str) -> None:
    """Say something on stderr that ends nothing, once for all processes of a run."""
    if ranks.rank() == 0:
        print(f"warning: {message}", file=sys.stderr)


def _end_progress_bars() -> None:
    """A bar that was broken off leaves the cursor behind it, where the message would begin."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in list(getattr(tqdm, "_instances", ())):
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            bar.close()


def run(command: Callable[[], Any]) -> Any:
    """Call `command()` and turn what a person can mend into one line and an exit status.

    0 done, 1 the run failed, 2 wrong use, 130 interrupted. A traceback is left only for what is a
    defect of this repository, and only where `DEBUG=1` asks for it.
    """
    if ranks.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the first process speaks for all
    sys.excepthook = _excepthook
    _hear_threads()
    sys.unraisablehook = _unraisablehook
    open_screens()
    try:
        result = command()
        sys.stdout.flush()
        return result
    except UsageError as error:
        fail(str(error), 2)
    except (KeyboardInterrupt, Interrupted) as error:
        ignore_signals()
        fail(str(error) or "interrupted", 130)
    except RunError as error:
        fail(_first_line(error), 1)
    except OSError as error:
        fail(LOST_WORKER if _is_of_a_worker(error) else describe(error), 1)
    except Exception as error:
        if os.environ.get("DEBUG"):
            traceback.print_exc()
        first_line = _first_line(error)
        if _is_out_of_memory(error):
            fail(f"out of memory ({first_line[:200]}); {LOWER}", 1)
        if _is_of_a_worker(error):
            fail(LOST_WORKER, 1)
        if re.match(r"DataLoader worker .*(killed by signal|exited unexpectedly)", first_line):
            reasons = [*_swallowed, error.__cause__, error]
            reason = next(r for r in reasons if r and str(r).startswith("DataLoader worker"))
            fail(f"{_first_line(reason)}; {FEWER}", 1)
        if type(error).__name__ in ("DistNetworkError", "DistStoreError"):
            fail(f"{ranks.meeting_point()} ({first_line[:120]})", 1)
        if "Timed out waiting" in first_line:
            minutes = ranks.TIMEOUT.total_seconds() / 60
            fail(f"another process of this run has not answered for {minutes:g} minutes", 1)
        if "Connection closed by peer" in first_line or "Connection reset by peer" in first_line:
            fail("another process of this run has ended; what it said is the cause", 1)
        fail(f"{type(error).__name__}: {first_line} (DEBUG=1 shows where)", 1)


def _excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Say nothing of a connection to a worker that was killed: multiprocessing's own thread comes
    here when it breaks off, and what follows from that is said above."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main or not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _hear_threads() -> None:
    """Say nothing of what ends the thread that writes TensorBoard's points: the next point raises
    it once more, where it is said in one line."""
    hook = threading.excepthook
    if getattr(hook, "is_ours", False):
        return

    def heard(args: Any) -> None:
        is_told = isinstance(args.exc_value, OSError)
        if not (is_told and type(args.thread).__module__.startswith("tensorboard.")):
            hook(args)

    heard.is_ours = True  # type: ignore[attr-defined]
    threading.excepthook = heard


# What torch said of a worker while Python could not raise it.
_swallowed: list[BaseException] = []


def _unraisablehook(unraisable: Any) -> None:
    """Keep what torch's handler of SIGCHLD says, which may run while Python forks, for the error
    that follows from it."""
    error = unraisable.exc_value
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        _swallowed.append(error)
    else:
        sys.__unraisablehook__(unraisable)


# What takes memory, as far as a flag says how much.
LOWER = "lower --batch_size or --width"
FEWER = "it may have run out of memory: lower --num_workers"
LOST_WORKER = f"a DataLoader worker was killed by signal or exited unexpectedly; {FEWER}"


def _is_of_a_worker(error: Exception) -> bool:
    """Whether a loader's connection to a worker broke off. torch asks at once whether the worker
    lives, and a process that was killed a moment ago may still pass for alive."""
    frames = traceback.walk_tb(error.__traceback__)
    return (
        isinstance(error, (ConnectionError, EOFError))
        and not str(error).startswith("Caught ")  # what went wrong within a worker
        and any(f.f_globals.get("__name__") == "torch.utils.data.dataloader" for f, _ in frames)
    )


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class of its own for GPUs, and none for the CPU.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or ("DefaultCPUAllocator" in str(error) and "allocate memory" in str(error))
    )


def _first_line(error: BaseException) -> str:
    """What an error says. That of a loader's worker says it after the worker's whole traceback."""
    lines = (str(error).strip() or "no message").splitlines()
    if match := re.match(r"Caught \w+ in DataLoader worker process (\d+)", lines[0]):
        return f"{lines[-1].split(': ', 1)[-1]} (in worker process {match[1]} of the loader)"
    # torch adds guesses to the signal by which a worker was killed.
    return re.sub(r"(is killed by signal: \w+)\..*", r"\1", lines[0])


def describe(error: OSError) -> str:
    """An operating system's error as one line that names the file and what to do."""
    advice = {
        errno.ENOSPC: "free some space or give another --run_dir",
        errno.EDQUOT: "free some space or give another --run_dir",
        errno.EACCES: "choose a folder you may write to with --run_dir",
        errno.EPERM: "choose a folder you may write to with --run_dir",
        errno.EROFS: "choose a folder you may write to with --run_dir",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ENOMEM: LOWER,
        errno.ENOTDIR: "a part of this path is a file, not a folder",
    }.get(error.errno or 0, "")
    path = str(Path(os.fsdecode(error.filename))) if error.filename else ""
    name = f"{path if len(path) <= 300 else f'{path[:140]}...{path[-140:]}'}: " if path else ""
    reason = error.strerror or _first_line(error)
    return f"{name}{reason}" + (f"; {advice}" if advice else "")
