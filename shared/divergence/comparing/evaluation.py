"""Evaluation: which weights, in which mode, of which samples, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..fingerprints import same
from ..records import Forward, Loss, Run
from .batches import inputs, modes
from .calls import Drift
from .computing import outputs
from .finding import Finding, relative, where


def evaluations(a: Run, b: Run, number: int, notes: list[str], drift: Drift) -> Iterator[Finding]:
    mine, other = a.evaluations.get(number, []), b.evaluations.get(number, [])
    if not mine or not other:
        if (mine or other) and number:
            who = "A" if mine else "B"
            note(notes, f"Only {who} evaluates: after step {number}, for the first time.")
        return
    reordered = is_reordered(mine, other)
    for i, (x, y) in enumerate(zip(mine, other, strict=False)):
        yield from modes([x], [y], number, "evaluation-mode")
        if x["grad"] != y["grad"]:
            who = "A" if x["grad"] else "B"
            text = f"{who} evaluates with gradients on: each batch builds a graph for nothing."
            yield Finding("evaluation-grad", number, text, who, where(x, y))
        if x["state"] and y["state"]:
            yield from _states(a, b, x, y, number, drift)
        if reordered:
            continue
        for f, g in zip(x["inputs"], y["inputs"], strict=False):
            for found in inputs(f, g, number, where(x, y)):
                found.cause = "evaluation-batch"
                yield found
        # A module may return its loss, or nothing: what it gave is then that of the loss.
        p, q = (_loss_of(run, number, i) for run in (a, b))
        yield from outputs(x, y, a, b, number, (p, q) if p and q else None, drift)
    if reordered:
        text = "The samples are evaluated in another order or in other batches, which changes no"
        note(notes, f"{text} average over all of them (only means of batch means).")
        return
    for p, q in losses(a, b, number):
        if not same(p["input"], q["input"]) and p["input"]["shape"] == q["input"]["shape"]:
            text = "What the model gave differs."
            size = relative(p["input"], q["input"])
            yield Finding("evaluation", number, text, None, where(p, q), size)
    if len(mine) != len(other):
        text = f"A evaluated {len(mine)} batches after this step, B {len(other)}."
        sizes = [sum(e["inputs"][0]["shape"][0] for e in v if e["inputs"]) for v in (mine, other)]
        text += f" That is {sizes[0]} samples and {sizes[1]}."
        yield Finding("evaluation-batches", number, text, None, where(mine[-1], other[-1]))


def before_training(a: Run, b: Run) -> Iterator[Finding]:
    """In which mode a model is asked before the first step, for labels as for a first score: in
    training mode it draws from the generator."""
    mine, other = a.evaluations.get(0, []), b.evaluations.get(0, [])
    for x, y in zip(mine, other, strict=False) if len(mine) == len(other) else ():
        yield from modes([x], [y], 1, "evaluation-mode")


def is_reordered(x: list[Forward], y: list[Forward]) -> bool:
    """Whether the same samples were seen, in another order or in other batches."""
    batches = [[i.get("rows", []) for e in side for i in e["inputs"][:1]] for side in (x, y)]
    rows = [sorted(row for batch in side for row in batch) for side in batches]
    return batches[0] != batches[1] and rows[0] == rows[1]


def losses(a: Run, b: Run, number: int) -> list[tuple[Loss, Loss]]:
    mine, other = (run.eval_losses.get(number, []) for run in (a, b))
    return list(zip(mine, other, strict=True)) if len(mine) == len(other) else []


def _loss_of(run: Run, number: int, i: int) -> Loss | None:
    """The one loss that was computed between an evaluated batch and the next."""
    calls = run.evaluations[number][i : i + 2]
    first, last = calls[0]["order"], calls[1]["order"] if calls[1:] else math.inf
    found = [v for v in run.eval_losses.get(number, []) if first < v["order"] < last]
    return found[0] if len({v["input"]["hash"] for v in found}) == 1 else None


def _states(a: Run, b: Run, x: Forward, y: Forward, number: int, drift: Drift) -> Iterator[Finding]:
    states = [sorted(h for _, h, _ in v["state"]) for v in (x, y)]
    if states[0] == states[1]:
        return
    apart = [p[0] for p, q in zip(x["state"], y["state"], strict=False) if p[1] != q[1]]
    last = [_last(run, number) for run in (a, b)]
    is_last = [bool(h) and h <= set(state) for h, state in zip(last, states, strict=True)]
    if len(states[0]) != len(states[1]):
        # A part of the model is of the last weights too; an average has a count of its own.
        are_others = [not h & set(state) for h, state in zip(last, states, strict=True)]
        if not (is_last[0] and are_others[1]) and not (is_last[1] and are_others[0]):
            return
    if not number:
        text = f"{len(set(states[0]) ^ set(states[1])) // 2} tensors differ"
        text += f", {apart[0]} first." if apart else "."
        yield Finding("evaluation-weights", 0, text, None, where(x, y))
    elif is_last[0] != is_last[1]:
        who, other = ("A", "B") if is_last[0] else ("B", "A")
        run = b if who == "A" else a
        earlier = [n for n in range(1, number) if _last(run, n) <= set(states[who == "A"])]
        loads = [v for v in run.loads if v["step"] == number]
        where_from = "others (an average, or a copy)"
        if earlier and _last(run, earlier[-1]):
            where_from = f"those of step {earlier[-1]}"
        elif loads:
            where_from = "others, which it loaded"
        text = f"{who} evaluates the weights of step {number}, the last; {other} {where_from}."
        yield Finding("evaluation-weights", number, text, None, where(x, y))
    elif not any(is_last) and not drift.size:
        text = "Both evaluate weights that are not the last (an average, or a copy), and these"
        text += f" differ{f': {apart[0]} first' if apart else ''}."
        yield Finding("evaluation-weights", number, text, None, where(x, y))


def _last(run: Run, number: int) -> set[str]:
    taken = run.steps[number - 1].taken if 0 < number <= len(run.steps) else None
    return {f["hash"] for _, f in taken["weights"]} if taken else set()


def note(notes: list[str], text: str) -> None:
    if not any(n.split(":")[0] == text.split(":")[0] for n in notes):
        notes.append(text)
