"""What was saved, and how the runs ended."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Run
from .evaluation import note
from .finding import Finding, where

SAVED = {"current": "its weights of this step", "others": "other tensors", "none": "none"}


def saves(a: Run, b: Run, number: int, notes: list[str]) -> Iterator[Finding]:
    mine, other = a.saves.get(number, []), b.saves.get(number, [])
    if not a.saves or not b.saves:
        if mine or other:
            who = "A" if mine else "B"
            note(notes, f"Only {who} saves: after step {number}, for the first time.")
        return
    for x, y in zip(mine, other, strict=False):
        lines = where(x, y)
        for there, cause, what in (
            ((x["optimizer"], y["optimizer"]), "saved-optimizer", "the optimizer"),
            ((x["schedule"], y["schedule"]), "saved-schedule", "a schedule"),
        ):
            if there[0] != there[1]:
                who = "A" if there[1] else "B"
                yield Finding(cause, number, f"{who} saves no state of {what}.", who, lines)
                return
        if x["weights"] != y["weights"]:
            text = f"A saves {SAVED[x['weights']]}, B {SAVED[y['weights']]}."
            yield Finding("saved-weights", number, text, None, lines)
            return
        if x["prefix"] != y["prefix"]:
            who, prefix = ("A", x["prefix"]) if x["prefix"] else ("B", y["prefix"])
            text = f"The names of {who} begin with {prefix}"
            yield Finding("saved-names", number, text, who, lines)
            return
    if len(mine) != len(other):
        who = "A" if len(mine) < len(other) else "B"
        text = f"After this step A saves {len(mine)} times, B {len(other)} times."
        last = where(mine[-1] if mine else None, other[-1] if other else None)
        yield Finding("saved-when", number, text, who, last)


def endings(a: Run, b: Run) -> Iterator[Finding]:
    counts = a.trained, b.trained
    if counts[0] == counts[1] or not min(counts):
        return
    who = "A" if counts[0] < counts[1] else "B"
    run, other = (a, b) if who == "A" else (b, a)
    if run.end is None or run.end["how"] != "finished":
        return  # it crashed or was stopped, which is said in its own words
    mine, theirs = run.steps[min(counts) - 1].taken, other.steps[min(counts)].taken
    lines = where(mine, theirs) if who == "A" else where(theirs, mine)
    text = f"{who} ends after {min(counts)} steps; the other goes on."
    each = {s.taken["number"] for s in run.steps if s.taken}
    if len(each) > 1:
        text += f" These are steps of {len(each)} optimizers"
        if run.end["lightning"]:
            text += ", each of which counts for max_steps in Lightning"
        text += "."
    yield Finding("steps", min(counts) + 1, text, None, lines)
