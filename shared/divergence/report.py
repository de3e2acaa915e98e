"""The answer in words, of at most 80 columns."""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import statistics
import textwrap
from pathlib import Path

from .causes import cause_of, kind_of
from .comparing.differences import Comparison, Finding, compare
from .comparing.growth import FACTOR as ALLOWED
from .launch import cells
from .records import Run, Where

WIDTH = 80
# Differences of time and memory that are no noise.
SECONDS, FACTOR, BYTES = 1.0, 2.0, 200 * 2**20


def report(
    a: Run,
    b: Run,
    ends: tuple[str, str],
    timeout: float = 0,
    is_same: bool = False,
    result: Comparison | None = None,
) -> tuple[list[str], int]:
    """The answer in lines, and the exit status.

    Args:
        is_same: A and B are the same command.
        result: what came of comparing them, if that was done already.
    """
    result = result or compare(a, b)
    lines, status = _answer(result, a, b, ends, timeout)
    if is_same and status and result.finding is not None:
        lines += ["", *wrap("A and B are the same command: it differs from run to run.")]
    lines += [line for text in _closing(a, b) for line in ["", *wrap(text)]]
    return lines, status


def _answer(
    result: Comparison, a: Run, b: Run, ends: tuple[str, str], timeout: float
) -> tuple[list[str], int]:
    notes = [line for text in result.notes for line in wrap(text)]
    evaluates = not a.steps and not b.steps and bool(a.evaluations) and bool(b.evaluations)
    if result.finding is not None and (result.steps or not (a.trained or b.trained)):
        lines = finding_lines(result.finding)
        lines += _ended((a, b), ends, timeout, aside=True)
        if not result.finding.cause.startswith("resumed"):  # whose steps are those of another
            lines += _before(result, result.finding.step)
        return lines + [""] * bool(notes) + notes, 1
    if stopped := _ended((a, b), ends, timeout, aside=evaluates):
        return stopped + _before(result, result.steps + 1) + notes, 1
    if result.rounding:
        is_equal = result.is_told and not result.blind
        return _drifted(result, a.world == b.world) + notes, 0 if is_equal else 1
    counted = []
    for thing, events in (
        ("optimizer step", [result.steps]),
        ("evaluated batch", [_evaluated(run) for run in (a, b)]),
        ("checkpoint", [sum(map(len, run.saves.values())) for run in (a, b)]),
    ):
        count = min(events)
        plural = "es" if thing.endswith("h") else "s"
        counted += [f"{count} {thing}{plural * (count > 1)}"] if count else []
    if not counted:
        return wrap("Neither program trained or evaluated a model.") + notes, 1
    what = "weights and buffers, batches, modes, losses, gradients and the optimizer's settings."
    if evaluates:
        what = "weights and buffers, batches, modes and outputs."
    elif a.world != b.world:
        what = "weights and buffers, modes, gradients and the optimizer's settings."
    return wrap(f"Equal to the bit in {', '.join(counted)}: {what}") + notes, 0


def _evaluated(run: Run) -> int:
    """Batches that a model saw without being trained on them; a forward pass of training whose
    result is detached is none."""
    events = [event for side in run.evaluations.values() for event in side]
    return sum(not (event["grad"] and event["training"]) for event in events)


def finding_lines(found: Finding) -> list[str]:
    """One difference: the step, what it is, the lines of both programs, and what to change."""
    cause, who = cause_of(found.cause), found.who or "one of them"
    place = f"step {found.step}" if found.step else "the evaluation"
    lines = [
        f"FIRST DIFFERENCE  {place}",
        *wrap(cause.title, "cause    "),
        *wrap(f"in {kind_of(found.cause)}. {found.text}", "what     "),
        "",
    ]
    for name, where in zip("AB", found.where, strict=True):
        lines += place_of(name, where)
    lines += [
        "",
        *wrap(cause.likely.format(who=who), "likely   "),
        *wrap(cause.change.format(who=who), "change   "),
    ]
    return lines


def place_of(name: str, where: Where, limit: int = 2) -> list[str]:
    """File, line and source of the innermost frames."""
    lines = []
    for i, (file, number, _) in enumerate(where[:limit]):
        source = line_of(file, number).strip()
        with contextlib.suppress(ValueError):  # another drive, on Windows
            file = os.path.relpath(file) if len(os.path.relpath(file)) < len(file) else file
        head = f"{name}  " if i == 0 else "   from "
        lines.append(head + f"{file}:{number}")
        lines.append("     " + textwrap.shorten(source, WIDTH - 5, placeholder=" ..."))
    return lines or [f"{name}  (no line of its own code)"]


def line_of(file: str, number: int) -> str:
    """A line of a file, or of a cell of a notebook."""
    found = re.fullmatch(r"(.+\.ipynb)\[cell (\d+)\]", file)
    if found is None:
        return linecache.getline(file, number)
    with contextlib.suppress(OSError, ValueError, LookupError):
        return cells(Path(found[1]))[int(found[2]) - 1].splitlines()[number - 1]
    return ""


def _ended(
    runs: tuple[Run, Run], ends: tuple[str, str], timeout: float, aside: bool = False
) -> list[str]:
    """What there is to say of a program that crashed, hung, or did not train."""
    lines: list[str] = []
    for name, recorded, how in zip("AB", runs, ends, strict=True):
        steps = recorded.trained
        after = f"after {steps} optimizer steps" if steps else "before its first optimizer step"
        if how == "crashed":
            error = recorded.end["error"] if recorded.end else "it ended without a word"
            word = "ENDED ITSELF" if error.startswith("sys.exit(") else "CRASHED"
            lines += wrap(f"{name} {word} {after}: {error}")
            where = recorded.end["where"] if recorded.end else []
            lines += place_of(name, where) if where else []
        elif how == "timeout":
            lines += wrap(f"{name} DID NOT END within {timeout:g} s (--timeout): stopped {after}.")
        elif steps == 0 and not aside:
            called = "no call of backward() or of an optimizer's step() was seen"
            if recorded.steps:
                called = "it calls backward(), but its weights never change"
            lines += wrap(f"{name} NEVER TRAINED: {called}.")
    return [""] * bool(lines and aside) + lines


def _before(result: Comparison, step: int) -> list[str]:
    start = result.first
    if step <= start:
        return []
    before = f"Steps {start} to {step - 1} are" if step > start + 1 else f"Step {start} is"
    if not result.rounding:
        return ["", *wrap(f"{before} equal to the bit.")]
    first = result.rounding[0]
    text = f"{before} equal but for rounding ({first.size:.1e} at first: {first.reason})."
    if not result.is_told:
        text = f"Before, there is a difference of {first.size:.1e} at step {first.step}: "
        text += f"{first.reason}. {_untold(result)}"
    return ["", *wrap(text)]


def _drifted(result: Comparison, is_one_world: bool) -> list[str]:
    first = result.rounding[0]
    sizes: dict[int, float] = {}
    for found in result.rounding:
        sizes[found.step] = max(sizes.get(found.step, 0.0), found.size or 0.0)
    last = max(sizes)
    growth = ""
    if last > first.step and sizes[first.step]:
        factor = (sizes[last] / sizes[first.step]) ** (1 / (last - first.step))
        growth = f", {sizes[last]:.1e} at step {last}: times {factor:.2f} a step"
    title = f"Equal within rounding in {result.steps} optimizer steps."
    if not result.is_told:
        title = f"NOT KNOWN whether {result.steps} optimizer steps are equal within rounding."
    elif result.blind:
        title = f"Equal within rounding before step {result.blind} of {result.steps}; "
        title += "NOT COMPARABLE from there on."
    lines = wrap(
        f"{title} The first difference is of "
        f"{first.size:.1e} in {kind_of(first.cause)} at step {first.step}{growth}."
    )
    lines += wrap(f"Where it comes from: {first.reason}.")
    for name, where in zip("AB", first.where, strict=True):
        lines += place_of(name, where, 1)
    lines += wrap(_told(result) if result.is_told else _untold(result))
    same = ["no setting"] * result.is_set_alike + ["no batch"] * is_one_world + ["no mode"]
    said = ", ".join(same[:-1]) + " and " * (len(same) > 1) + same[-1]
    return lines + wrap(f"{said.capitalize()} differs.")


def _told(result: Comparison) -> str:
    """What A did with its weights moved by one rounding."""
    growth = result.growth
    if growth is None:
        return "Nothing else differs."
    text = ""
    if growth.largest is not None:
        of, step, size, shown = growth.largest
        until = f" up to step {step}" if step else ""
        text = f"{growth.text} parts from A by at most {shown:.1e} in {kind_of(of)}{until}, B by"
        text += f" {size:.1e}; rounding may be {ALLOWED} times as much, and nothing else of B comes"
        text += " nearer to that. "
    if result.blind:
        text += f"From step {result.blind} on, a rounding alone parts A from itself by a tenth or"
        text += " more, and no difference can be told from it."
        if result.blind > result.first:
            text += f" With --steps {growth.blind - 1} all that is compared can be told."
    return text.strip()


def _untold(result: Comparison) -> str:
    why = f": {result.fault}" if result.fault else ""
    return f"How large a rounding becomes in A is not known{why}."


def _closing(a: Run, b: Run) -> list[str]:
    """Where one side loses time or memory, by more than noise."""
    texts = []
    count = min(a.trained, b.trained)
    phases = phases_of(a, count), phases_of(b, count)
    for phase in phases[0] if all(phases) else ():
        mine, other = phases[0][phase], phases[1][phase]
        who, slow, fast = ("A", mine, other) if mine > other else ("B", other, mine)
        if slow - fast > SECONDS and slow > FACTOR * fast:
            more = ""
            if phase == "between steps":
                begun = [v for v in (a if who == "A" else b).loaders if v["workers"]]
                again = [v for v in begun if not v["persistent"]]
                if len(again) > 1:
                    more = f" It starts the workers of its loaders {len(again)} times."
            texts.append(f"{who} spends {slow:.1f} s {phase}, the other {fast:.1f} s.{more}")
    kept = [max((s.taken["kept"] for s in run.steps if s.taken), default=0) for run in (a, b)]
    if abs(kept[0] - kept[1]) > 3 and max(kept) >= 0.8 * min(a.trained, b.trained) - 2:
        who = "A" if kept[0] > kept[1] else "B"
        texts.append(
            f"{who} still holds the losses of {max(kept)} earlier steps, with their graphs, at the "
            f"end; the other of {min(kept)}: its memory grows with every step."
        )
    grown = [_grown(run) for run in (a, b)]
    if abs(grown[0] - grown[1]) > BYTES:
        sizes = f"{grown[0] / 2**20:.0f} MB in A, {grown[1] / 2**20:.0f} MB in B"
        texts.append(f"Between the second step and the last, memory grew by {sizes}.")
    return texts


def _grown(run: Run) -> int:
    held = [s.taken["memory"] for s in run.steps if s.taken]
    return held[-1] - held[1] if len(held) > 2 else 0


def phases_of(run: Run, count: int) -> dict[str, float]:
    """Seconds before the first batch, in steps, between steps, and in saving, in the first `count`
    steps; nothing where these are not known."""
    ends = [s.taken["time"] for s in run.steps if s.taken][:count]
    begins = [s.backwards[0]["time"] for s in run.steps if s.backwards and s.taken][:count]
    if not ends or len(begins) != len(ends):
        return {}
    gaps = [s - e for s, e in zip(begins[1:], ends, strict=False)]
    saves = [v["seconds"] for step, side in run.saves.items() for v in side if step <= count]
    return {
        "before its first step": begins[0],
        "in a step": statistics.median(e - s for s, e in zip(begins, ends, strict=True)),
        "between steps": sum(gaps),
        "saving": sum(saves),
    }


def overhead(name: str, recorded: Run) -> str:
    end = recorded.end
    if end is None:
        return f"{name} {recorded.trained} steps"
    return (
        f"{name} {recorded.trained} steps in {end['seconds']:.1f} s, "
        f"{end['recording']:.2f} s of it recording"
    )


def wrap(text: str, start: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
    )
