"""Find the first thing in which two training programs differ.

python PATH/TO/shared/divergence "python train.py" "python lit_train.py"
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .following import follow_parent
from .records import Run, read

LAUNCH = Path(__file__).resolve().parent / "launch.py"
LONGEST = 200  # characters of a line that a program printed
VARIABLE = re.compile(r"[A-Za-z_]\w*=")
FUNCTION = re.compile(r"\w+(\.\w+)*:\w+")
DESCRIPTION = """\
Run two training programs, and report the first thing in which they differ: the step, the cause, the
line of each program, and what to change. Each is a command line in quotes, as "script.py --lr 3",
"python -m package.train", "notebook.ipynb" or "torchrun --nproc_per_node 2 script.py", or
module:function. The programs run as they are, one after the other, in the current folder. Exit
status: 0 equal to the bit or within rounding, 1 different or not comparable, 2 wrong use."""


class WrongUse(Exception):
    """One line on stderr, exit status 2."""


class NotRun(Exception):
    """One line on stderr, exit status 1."""


class Command(NamedTuple):
    """`launcher` starts a Python program, of which `program` are the arguments, with the variables
    of `environment`."""

    launcher: list[str]
    program: list[str]
    environment: tuple[tuple[str, str], ...] = ()


def parse_command(name: str, text: str) -> Command:
    """
    Raises:
        WrongUse: no Python program can be found in it.
    """
    words = _words(name, text)
    count = len(list(itertools.takewhile(VARIABLE.match, words)))
    environment = tuple((w.split("=", 1)[0], w.split("=", 1)[1]) for w in words[:count])
    del words[:count]
    for i, word in enumerate(words):
        is_ours = not i or words[0] in ("python", "python3", "torchrun", sys.executable)
        if word == "-m" and i + 1 < len(words) and words[i + 1] != "torch.distributed.run":
            if is_ours and not _is_module(words[i + 1]):
                raise WrongUse(f"{name}: there is no module {words[i + 1]} to run here")
        elif word.endswith((".py", ".ipynb")):
            if not Path(word).is_file():
                raise WrongUse(f"{name}: there is no file {word}")
        elif i == 0 and FUNCTION.fullmatch(word):
            if not _is_module(word.split(":")[0]):
                raise WrongUse(f"{name}: there is no module {word.split(':')[0]} here")
        else:
            continue
        return Command(words[:i] or ["python"], words[i:], environment)
    for i, word in enumerate(words[1:], 1):
        if Path(word).is_file():  # a script may be called anything
            return Command(words[:i], words[i:], environment)
    raise WrongUse(
        f'{name}: {text!r} is no Python program; expected "script.py ...", "notebook.ipynb", '
        '"python -m module ..." or module:function'
    )


def _words(name: str, text: str) -> list[str]:
    """
    Raises:
        WrongUse: it is no command line, or one that only a shell can run.
    """
    if text.endswith((".py", ".ipynb")) and Path(text).is_file():
        return [text]  # the shell has taken the quotes of a path with spaces
    try:
        signs = shlex.shlex(text, posix=False, punctuation_chars=True)
        shell = [sign for sign in signs if sign and set(sign) <= set("|&;<>")]
        words = [os.path.expanduser(word) for word in split(text)]
    except ValueError as error:
        raise WrongUse(f"{name}: {text!r} cannot be read ({error})") from None
    if shell:
        raise WrongUse(f"{name}: {shell[0]} is for a shell; expected the command line of a program")
    return words


def split(text: str) -> list[str]:
    """The words of a command line. On Windows a backslash is part of a path."""
    if os.name != "nt":
        return shlex.split(text)
    return [word.strip("\"'") for word in shlex.split(text, posix=False)]


def _is_module(name: str) -> bool:
    """Whether there is a module, found without importing any part of it."""
    places: list[str] | None = [os.getcwd(), *sys.path]
    parts = name.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), places)
        if spec is None and i == 0:
            with contextlib.suppress(ValueError):
                spec = importlib.util.find_spec(parts[0])  # of a package installed to be edited
        if spec is None:
            return False
        places = list(spec.submodule_search_locations or [])
    return True


def record(
    command: Command,
    path: Path,
    steps: int,
    timeout: float,
    folder: Path | None = None,
    start: Callable[..., Any] = subprocess.Popen,
    moved: tuple[object, ...] = (),
) -> tuple[Run, str]:
    """Run a program under the recorder, in `folder`, for at most `timeout` seconds.

    Args:
        moved: from which step on its weights are moved by one rounding, and by how much.
        start: starts a process, as `subprocess.Popen` does.

    Returns:
        What it did, and how it ended: "finished", "enough", "crashed" or "timeout".

    Raises:
        NotRun: it could not be started.
    """
    python = dict.fromkeys(("python", "python3"), sys.executable)
    launcher = [python.get(word, word) for word in command.launcher]
    if launcher[0] == "torchrun":
        launcher[:1] = [sys.executable, "-m", "torch.distributed.run"]
    given = map(str, (LAUNCH, path, steps, *moved))
    words = [*launcher, *given, "--", *command.program]
    environment = {**os.environ, **dict(command.environment), "PYTHONDONTWRITEBYTECODE": "1"}
    with open(path.with_suffix(".log"), "w") as output:
        try:
            process = start(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=follow_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise NotRun(f"{words[0]}: {error.strerror}") from None
        timed_out = False
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            end(process)
    recorded = read(path) if path.exists() else Run()
    if timed_out:
        return recorded, "timeout"
    return recorded, recorded.end["how"] if recorded.end else "crashed"


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program with its workers and its other processes, of whose group it is the leader."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows ends the children with their parent only if it is told to
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)], check=False, capture_output=True
        )
    process.wait()


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUse(message)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """
    Raises:
        WrongUse: a flag is wrong.
    """
    parser = Parser(
        prog="divergence",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", help="the one program")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps to look at (20)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each program (300)")
    parser.add_argument("--keep", metavar="FOLDER", help="leave records and logs in this folder")
    args = parser.parse_args(arguments)
    if args.steps < 1:
        parser.error(f"--steps: got {args.steps}; expected a whole number, 1 or more")
    if not args.timeout > 0:
        parser.error(f"--timeout: got {args.timeout:g}; expected seconds, more than 0")
    return args


def diverge(args: argparse.Namespace) -> int:
    """Run both programs, print the answer, and return the exit status.

    Raises:
        WrongUse: one of them is no Python program.
        NotRun: one of them could not be started.
    """
    commands = parse_command("A", args.a), parse_command("B", args.b)
    # With torch, which --help and a typo need not.
    from .comparing.differences import compare
    from .report import overhead, report, wrap

    with contextlib.ExitStack() as stack:
        if args.keep:
            folder = Path(args.keep)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WrongUse(f"--keep: {error.filename}: {error.strerror}") from None
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        runs, ends = [], []
        for name, command, text in zip("AB", commands, (args.a, args.b), strict=True):
            print("\n".join(wrap(text, f"{name}  ")), flush=True)
            recorded, how = record(command, folder / f"{name}.jsonl", args.steps, args.timeout)
            runs.append(recorded)
            ends.append(how)
        result = compare(runs[0], runs[1])
        if result.nudge is not None:
            text = "once more, with its weights moved by one rounding"
            print("\n".join(wrap(text, "A  ")), flush=True)
            step, size, steps = result.nudge
            path = folder / "nudged.jsonl"
            nudged, _ = record(commands[0], path, steps, args.timeout, moved=(step, size))
            result = compare(runs[0], runs[1], nudged)
        print()
        is_same = commands[0] == commands[1]
        lines, status = report(runs[0], runs[1], (ends[0], ends[1]), args.timeout, is_same, result)
        print("\n".join(lines))
        print("\n" + "\n".join(overhead(n, r) for n, r in zip("AB", runs, strict=True)))
        for name, how in zip("AB", ends, strict=True):
            if how in ("crashed", "timeout"):
                print(f"\nThe last lines of {name}:")
                log = (folder / f"{name}.log").read_text(errors="replace").splitlines()
                shown = [f"  {line[:LONGEST]}" for line in log[-12:]]
                print("\n".join(shown) or "  (it printed nothing)")
    return status


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> NoReturn:
    if hasattr(sys.stdout, "reconfigure"):  # what a program printed may have any letters
        sys.stdout.reconfigure(errors="replace")
    # As on Ctrl+C, so that the program that runs is ended, and the records are removed.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP, and nohup ignores it
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        status = diverge(parse_args())
    except WrongUse as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except NotRun as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # nobody reads the answer any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    raise SystemExit(status)
