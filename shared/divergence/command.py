"""Find the first thing in which two training programs differ.

python -m shared.divergence "python -m raw_pytorch train" "python -m lightning train"
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import linecache
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shared.divergence.causes import cause_of, kind_of
from shared.divergence.records import Run, read
from shared.errors import RunError, UsageError, run

if TYPE_CHECKING:
    from shared.divergence.differences import Comparison, Finding

LAUNCH = Path(__file__).resolve().parent / "launch.py"
WIDTH = 80
FUNCTION = re.compile(r"\w+(\.\w+)*:\w+")
DESCRIPTION = """\
Run two training programs, and report the first thing in which they differ: the step, the cause, the
line of each program, and what to change. Each is a command line in quotes, as "script.py --lr 3",
"python -m package.train" or "torchrun --nproc_per_node 2 script.py", or module:function. The
programs run as they are, one after the other. Exit status: 0 equal to the bit or within rounding,
1 different or not comparable, 2 wrong use."""


class Command(NamedTuple):
    """`launcher` starts a Python program, of which `program` are the arguments."""

    launcher: list[str]
    program: list[str]


def parse_command(name: str, text: str) -> Command:
    """
    Raises:
        UsageError: no Python program can be found in it.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{name}: {text!r} cannot be read ({error})") from None
    for i, word in enumerate(words):
        if word == "-m" and i + 1 < len(words) and words[i + 1] != "torch.distributed.run":
            if _module(words[i + 1]) is None:
                raise UsageError(f"{name}: there is no module {words[i + 1]} to run here")
            return Command(words[:i] or ["python"], words[i:])
        if word.endswith(".py"):
            if not Path(word).is_file():
                raise UsageError(f"{name}: there is no file {word}")
            return Command(words[:i] or ["python"], words[i:])
        if i == 0 and FUNCTION.fullmatch(word):
            if _module(word.split(":")[0]) is None:
                raise UsageError(f"{name}: there is no module {word.split(':')[0]} here")
            return Command(["python"], words)
    raise UsageError(
        f'{name}: {text!r} is no Python program; expected "script.py ...", '
        '"python -m module ..." or module:function'
    )


def _module(name: str) -> object | None:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    finally:
        sys.path.remove(os.getcwd())


def record(
    command: Command, path: Path, steps: int, timeout: float, folder: Path | None = None
) -> tuple[Run, str]:
    """Run a program under the recorder, in `folder`, for at most `timeout` seconds.

    Returns:
        What it did, and how it ended: "finished", "enough", "crashed" or "timeout".
    """
    python = dict.fromkeys(("python", "python3"), sys.executable)
    launcher = [python.get(word, word) for word in command.launcher]
    if launcher[0] == "torchrun":
        launcher[:1] = [sys.executable, "-m", "torch.distributed.run"]
    words = [*launcher, str(LAUNCH), str(path), str(steps), "--", *command.program]
    log = path.with_suffix(".log")
    with open(log, "w") as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"{words[0]}: {error.strerror}") from None
        timed_out = False
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            # Its workers and its other processes, too, of which it is the group's leader.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    recorded = read(path) if path.exists() else Run()
    if timed_out:
        return recorded, "timeout"
    return recorded, recorded.end["how"] if recorded.end else "crashed"


def report(a: Run, b: Run, ends: tuple[str, str], timeout: float = 0) -> tuple[list[str], int]:
    """The answer in lines of at most 80 columns, and the exit status."""
    from shared.divergence.differences import compare

    result = compare(a, b)
    if result.finding is not None and result.steps:
        lines = _found(result.finding)
        lines += _ended((a, b), ends, timeout, aside=True)
        lines += _before(result, result.finding.step)
        return lines, 1
    if stopped := _ended((a, b), ends, timeout):
        return stopped + _before(result, result.steps + 1), 1
    if result.rounding:
        return _drifted(result, a, b), 0
    counted = [f"{result.steps} optimizer steps"]
    for name, things in (("evaluations", "evaluated batches"), ("saves", "checkpoints")):
        count = sum(map(len, getattr(a, name).values()))
        counted += [f"{count} {things}"] if count else []
    lines = wrap(
        f"Equal to the bit in {', '.join(counted)}: weights and buffers, batches, modes, "
        "generator, losses, gradients and the optimizer's settings."
    )
    return lines + [line for note in result.notes for line in wrap(note)], 0


def _found(found: Finding) -> list[str]:
    cause, who = cause_of(found.cause), found.who or "one of them"
    lines = [
        f"FIRST DIFFERENCE  step {found.step}",
        *wrap(f"{kind_of(found.cause)}  -  {cause.title}", "cause    "),
        *wrap(found.text, "what     "),
        "",
    ]
    for name, where in zip("AB", found.where, strict=True):
        lines += place(name, where)
    lines += [
        "",
        *wrap(cause.likely.format(who=who), "likely   "),
        *wrap(cause.change.format(who=who), "change   "),
    ]
    return lines


def place(name: str, where: list, limit: int = 2) -> list[str]:
    """File, line and source of the innermost frames, and of the one in the program's own file."""
    lines = []
    for i, (file, number, function) in enumerate(where[:limit]):
        with contextlib.suppress(ValueError):
            file = os.path.relpath(file) if len(os.path.relpath(file)) < len(file) else file
        source = linecache.getline(file, number).strip()
        head = f"{name}  " if i == 0 else "   from "
        lines.append(head + f"{file}:{number}")
        lines.append("     " + textwrap.shorten(source, WIDTH - 5, placeholder=" ..."))
    return lines or [f"{name}  (no line of its own code)"]


def _ended(
    runs: tuple[Run, Run], ends: tuple[str, str], timeout: float, aside: bool = False
) -> list[str]:
    """What there is to say of a program that crashed, hung, or did not train."""
    lines: list[str] = []
    for name, recorded, how in zip("AB", runs, ends, strict=True):
        steps = recorded.trained
        after = f"after {steps} optimizer steps" if steps else "before its first optimizer step"
        if how == "crashed":
            error = (recorded.end or {}).get("error") or "it ended without a word"
            lines += wrap(f"{name} CRASHED {after}: {error}")
            where = (recorded.end or {}).get("where") or []
            lines += place(name, where) if where else []
        elif how == "timeout":
            lines += wrap(f"{name} DID NOT END within {timeout:g} s (--timeout): stopped {after}.")
        elif steps == 0 and not aside:
            called = "it ended without a call of backward() or of an optimizer's step()"
            if recorded.steps:
                called = "it calls backward(), but never an optimizer's step()"
            lines += wrap(f"{name} NEVER TRAINED: {called}.")
    return [""] * bool(lines and aside) + lines


def _before(result: Comparison, step: int) -> list[str]:
    if step <= 1:
        return []
    before = f"Steps 1 to {step - 1} are" if step > 2 else "Step 1 is"
    lines = ["", *wrap(f"{before} equal" + (
        f" but for rounding ({result.rounding[0].size:.1e} at first)." if result.rounding else
        " to the bit."
    ))]  # fmt: skip
    return lines


def _drifted(result: Comparison, a: Run, b: Run) -> list[str]:
    first = result.rounding[0]
    sizes: dict[int, float] = {}
    for found in result.rounding:
        sizes[found.step] = max(sizes.get(found.step, 0.0), found.size or 0.0)
    last = max(sizes)
    growth = ""
    if last > first.step and sizes[first.step]:
        factor = (sizes[last] / sizes[first.step]) ** (1 / (last - first.step))
        growth = f", {sizes[last]:.1e} at step {last}: times {factor:.2f} a step"
    lines = wrap(
        f"Equal within rounding in {result.steps} optimizer steps. The first difference is of "
        f"{first.size:.1e} in {kind_of(first.cause)[3:].strip()} at step {first.step}{growth}."
    )
    lines += wrap(
        "Sums were taken in another order: other threads, another device, fused or foreach "
        "optimizers, or the same terms added in another order. No setting and no batch differs."
    )
    if a.threads != b.threads:
        lines += wrap(f"A runs on {a.threads} threads, B on {b.threads}.")
    return lines


def wrap(text: str, start: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
    )


def overhead(name: str, recorded: Run) -> str:
    end = recorded.end or {}
    if not end:
        return f"{name} {recorded.trained} steps"
    return (
        f"{name} {recorded.trained} steps in {end['seconds']:.1f} s, "
        f"{end['recording']:.2f} s of it recording"
    )


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m shared.divergence",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.error = lambda message: run(lambda: _raise(UsageError(message)))
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


def _raise(error: Exception) -> None:
    raise error


def diverge(args: argparse.Namespace) -> int:
    commands = parse_command("A", args.a), parse_command("B", args.b)
    with contextlib.ExitStack() as stack:
        if args.keep:
            folder = Path(args.keep)
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs, ends = [], []
        for name, command, text in zip("AB", commands, (args.a, args.b), strict=True):
            print("\n".join(wrap(text, f"{name}  ")), flush=True)
            recorded, how = record(command, folder / f"{name}.jsonl", args.steps, args.timeout)
            runs.append(recorded)
            ends.append(how)
        print()
        lines, status = report(*runs, tuple(ends), args.timeout)
        print("\n".join(lines))
        print("\n" + "\n".join(overhead(n, r) for n, r in zip("AB", runs, strict=True)))
        for name, how in zip("AB", ends, strict=True):
            if how in ("crashed", "timeout"):
                print(f"\nThe last lines of {name}:")
                log = (folder / f"{name}.log").read_text(errors="replace").splitlines()
                print("\n".join("  " + line for line in log[-12:]) or "  (it printed nothing)")
    return status


def main() -> None:
    args = parse_args()
    raise SystemExit(run(lambda: diverge(args)))


if __name__ == "__main__":
    main()
