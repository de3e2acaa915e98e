"""How a step changes the weights: clipping, scaling, the optimizer, its schedule, and what the
program writes to weights and gradients by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ..records import Clip, Run, Step, Taken, Touched, Unscale
from .computing import tensors
from .finding import Finding, alike, lowest, number_of, where
from .matching import Matching

# What of a parameter group changes only how sums are taken.
KERNELS = ("fused", "foreach", "capturable", "differentiable")
# What changes nothing, or says what another setting says.
SILENT = {
    *KERNELS, "parameters", "decoupled_weight_decay", "initial_lr", "max_lr", "min_lr",
    "max_momentum", "base_momentum", "swa_lr", "group_name", "name",
}  # fmt: skip


def scaling(
    ours: Step, theirs: Step, number: int, match: Matching, reason: str = ""
) -> Iterator[Finding]:
    """
    Args:
        reason: why gradients that are near are no others.
    """
    mine, other = (_clips(s.scaling) for s in (ours, theirs))
    lines = where(mine[0] if mine else ours.taken, other[0] if other else theirs.taken)
    if bool(mine) != bool(other):
        who = "A" if not mine else "B"
        there = (mine or other)[0]
        text = (
            f"{who} does not call clip_grad_{there['by']}_; the other clips to {there['limit']:g}."
        )
        if there["norm"] is not None:
            text += f" The norm was {there['norm']:.4g}."
        yield Finding("clip-missing", number, text, who, lines)
        return
    kinds = [[e["kind"] for e in s.scaling] for s in (ours, theirs)]
    scales = [[e for e in s.scaling if e["kind"] == "unscale"] for s in (ours, theirs)]
    if kinds[0] != kinds[1] and sorted(kinds[0]) == sorted(kinds[1]) and all(scales):
        who = "A" if kinds[0][0] == "clip" else "B"
        scale = max(e["scale"] for side in scales for e in side if e["kind"] == "unscale")  # type: ignore[typeddict-item]
        text = f"{who} clips before it unscales, gradients that are {scale:g} times too large."
        yield Finding("clip-scaled", number, text, who, lines)
    elif [e["micro"] for e in mine] != [e["micro"] for e in other]:
        who = "A" if len(mine) > len(other) else "B"
        text = f"A clips {len(mine)} times for this step, B {len(other)} times."
        yield Finding("clip-early", number, text, who, lines)
    else:
        for p, q in zip(mine, other, strict=True):
            if (p["by"], p["limit"], p["norm_type"]) != (q["by"], q["limit"], q["norm_type"]):
                text = f"To a {p['by']} of {p['limit']:g} in A, a {q['by']} of {q['limit']:g} in B"
                text += f" (norm types {p['norm_type']:g} and {q['norm_type']:g})."
                yield Finding("clip-limit", number, text, None, where(p, q))
    if ours.taken is None or theirs.taken is None:
        return
    precision = lowest([op for v in ours.backwards for op in v["operations"]])
    lines = where(ours.taken, theirs.taken)
    hands = written(ours.touched, theirs.touched, "gradient", match, lines)
    reason = f"{hands[1]}" if hands else reason
    found = tensors(ours.taken["gradients"], match.renamed(theirs.taken["gradients"]), number,
                    "clipped", lines, reason, precision)  # fmt: skip
    if found is not None and found.cause != "clipped-missing":
        if hands:
            found.cause, found.text, found.where = (
                "touched-gradient",
                f"{hands[1]}. {found.text}",
                hands[2],
            )
        yield found


def _clips(events: list[Clip | Unscale]) -> list[Clip]:
    return [e for e in events if e["kind"] == "clip"]  # type: ignore[misc]


def written(
    x: list[Touched], y: list[Touched], what: str, match: Matching, steps: tuple
) -> tuple[str, str, tuple] | None:
    """What one program writes to its weights or gradients by itself and the other does not: who,
    how, and the lines.

    Args:
        steps: the lines of the step itself, for who writes nothing.
    """
    sides = [[t for t in side if t["what"] == what] for side in (x, y)]
    keys = [
        [(t["name"], t["operation"], str(t["given"])) for t in sides[0]],
        [(match.of(t["name"]), t["operation"], str(t["given"])) for t in sides[1]],
    ]
    for who, mine, theirs, events in (
        ("A", keys[0], keys[1], sides[0]),
        ("B", keys[1], keys[0], sides[1]),
    ):
        for key, event in zip(mine, events, strict=True):
            if mine.count(key) > theirs.count(key):
                given = ", ".join(event["given"].values())
                text = f"{who} calls {event['operation']}({given}) on the {what} of {event['name']}"
                places = sides[1] if who == "A" else sides[0]
                there = places[0]["where"] if places else steps[1 if who == "A" else 0]
                lines = (event["where"], there) if who == "A" else (there, event["where"])
                return who, text, lines
    return None


def options(taken: Taken, match: Matching, is_b: bool) -> dict[str, dict[str, Any]]:
    """The settings of each parameter, by A's names."""
    found = {}
    for group in taken["groups"]:
        for name in group["parameters"]:
            found[match.of(name) if is_b else name] = group
    return found


def updated(run: Run, number: int) -> set[str] | None:
    """The parameters that are updated with the gradients of a step's backward passes: by that step,
    and by those after it that have no backward pass. None where that is not known."""
    names: set[str] = set()
    for i in range(number - 1, len(run.steps)):
        step = run.steps[i]
        if step.backwards and i >= number:
            break
        if step.taken is None or not step.taken["optimizer"] or step.taken["foreign"]:
            return None
        names |= {name for group in step.taken["groups"] for name in group["parameters"]}
    return names


def optimizer(
    a: Run, b: Run, ours: Step, theirs: Step, number: int, match: Matching
) -> Iterator[Finding]:
    x, y = ours.taken, theirs.taken
    assert x is not None and y is not None
    made = x["made"] or x["where"], y["made"] or y["where"]
    if not x["optimizer"] or not y["optimizer"]:
        return  # an update by hand has no settings; what it gives is compared
    if x["optimizer"] != y["optimizer"]:
        text = f"{x['optimizer']} in A, {y['optimizer']} in B."
        yield Finding("optimizer-class", number, text, None, made)
        return
    graded = {name for v in (x, y) for name, _ in v["gradients"]}
    ignored = match.untrained - graded
    for p, other, who in ((x, y, "A"), (y, x, "B")):
        if p["foreign"] == p["total"] and not other["foreign"]:
            text = f"{p['foreign']} of the {p['total']} parameters {who}'s optimizer holds are not"
            text += " those of the model that is trained."
            yield Finding("optimizer-foreign", number, text, who, made)
            return
        missing, fewer = ([n for n in v["missing"] if n not in ignored] for v in (p, other))
        if len(missing) > len(fewer):
            names = ", ".join(missing[:3])
            text = f"{len(missing)} parameters of the model are in no optimizer of {who}:"
            yield Finding("optimizer-missing", number, f"{text} {names}.", who, made)
            return
    mine, other_ = (
        {name: group for name, group in options(v, match, v is y).items() if name not in ignored}
        for v in (x, y)
    )
    if mine.keys() != other_.keys() and "?" not in mine.keys() | other_.keys():
        only = sorted(mine.keys() - other_.keys()) or sorted(other_.keys() - mine.keys())
        text = f"This step is for {len(mine)} parameters in A, for {len(other_)} in B; {only[0]} is"
        yield Finding("optimizer-groups", number, f"{text} in one of them.", None, made)
        return
    keys = {k for group in (*mine.values(), *other_.values()) for k in group} - SILENT
    for key in ("lr", *sorted(keys - {"lr"})):
        apart = [n for n in mine if n in other_ and key in mine[n] and key in other_[n]
                 and not alike(mine[n][key], other_[n][key])]  # fmt: skip
        if not apart:
            continue
        p, q = mine[apart[0]][key], other_[apart[0]][key]
        among = "" if len(apart) == len(mine) else f" of {apart[0]} ({len(apart)} of {len(mine)})"
        text = f"{key}{among} is {number_of(p)} in A, {number_of(q)} in B."
        cause, more = "optimizer-option", ""
        blamed: str | None = None
        if len(apart) < len(mine) or len(x["groups"]) != len(y["groups"]):
            cause = "optimizer-groups" if key != "lr" else "optimizer-option"
        if key == "lr":
            cause, blamed, more = _schedule(a, b, number, (x["number"], y["number"]))
            if cause != "optimizer-lr":
                made = x["schedule"] or x["where"], y["schedule"] or y["where"]
        yield Finding(cause, number, text + more, blamed, made)
        return


def _schedule(a: Run, b: Run, number: int, of: tuple[int, int]) -> tuple[str, str | None, str]:
    """Why a learning rate differs: which steps of each run it changed at.

    Args:
        of: the number of the optimizer in each run.
    """
    moves = []
    for run, optimizer_ in zip((a, b), of, strict=True):
        rates = [
            (i, s.taken["groups"][0].get("lr"))
            for i, s in enumerate(run.steps, 1)
            if s.taken and s.taken["groups"] and s.taken["number"] == optimizer_
        ]
        if rates and rates[0][0] == number:
            return "optimizer-lr", None, ""
        moves.append([i for (_, p), (i, q) in itertools.pairwise(rates) if p != q])
    for who, mine, other, run in (("A", moves[0], moves[1], a), ("B", moves[1], moves[0], b)):
        if len(mine) < len(other):
            starts = {v["step"] + 1 for v in run.loaders}
            if mine and set(mine) <= starts:
                return "schedule-epoch", who, f" In {who} it moves at the start of an epoch only."
            if not mine:
                return "schedule-still", who, f" In {who} it never moved in {run.trained} steps."
            if len(mine) * 2 < len(other):
                return "schedule-epoch", who, f" In {who} it moves at fewer steps: {mine[:4]}."
    return "schedule", None, ""


def stepped(
    a: Run, b: Run, ours: Step, theirs: Step, number: int, match: Matching
) -> Iterator[Finding]:
    x, y = ours.taken, theirs.taken
    assert x is not None and y is not None
    lines = where(x, y)
    reason = ""
    for key in KERNELS:
        kinds = [[str(g.get(key)) for g in v["groups"]] for v in (x, y)]
        if kinds[0] != kinds[1] and x["groups"] and y["groups"]:
            reason = f"the optimizer's {key} is {kinds[0][0]} in A, {kinds[1][0]} in B"
    if bool(x["optimizer"]) != bool(y["optimizer"]):
        reason = f"{'B' if x['optimizer'] else 'A'} updates its weights by hand"
    written_to = [[t for t in step.touched if t["what"] == "weight"] for step in (ours, theirs)]
    lines = where(
        written_to[0][0] if written_to[0] and not x["optimizer"] else x,
        written_to[1][0] if written_to[1] and not y["optimizer"] else y,
    )
    # Before the weights: they come from the forward pass.
    if len(x["buffers"]) == len(y["buffers"]):
        found = tensors(x["buffers"], match.renamed(y["buffers"]), number, "buffers", lines, "")
        if found is not None:
            yield found
    moved = [set(x["moved"]), {match.of(n) for n in y["moved"]}]
    if moved[0] != moved[1] and x["optimizer"] and y["optimizer"]:
        name = sorted(moved[0] ^ moved[1])[0]
        who = "A" if name in moved[0] else "B"
        text = f"{name} was changed by this step in {who} alone."
        yield Finding("stepped", number, text, None, lines)
    momenta = sorted(x["momenta"].keys() ^ y["momenta"].keys())
    sides = [
        # An optimizer may hold what it never moves.
        [(n, f) for n, f in v["weights"] if n not in match.untrained or n in v["moved"]]
        for v in (x, y)
    ]
    found = tensors(sides[0], match.renamed(sides[1]), number, "stepped", lines, reason)
    if found is not None:
        if x["began"] is not None and y["began"] is not None and x["began"] != y["began"]:
            found.cause, found.reason = "stepped-state", ""
            found.text = "The optimizer's state was another before this step. " + found.text
        elif momenta and not found.reason:
            found.text += f" Optimizer state only on one side: {', '.join(momenta)}."
        if not found.reason and found.cause != "stepped-state":
            apart = written(ours.touched, theirs.touched, "weight", match, lines)
            if not (x["optimizer"] and y["optimizer"]):
                said = apart[1] if apart and not (x["optimizer"] or y["optimizer"]) else reason
                found.cause = "stepped-hand"
                found.text = f"{said}. {found.text}" if said else found.text
            elif apart:
                who, said, places = apart
                text = f"{said}, before the optimizer's step. {found.text}"
                found = Finding("touched", number, text, who, places)
        yield found


def between(a: Run, b: Run, number: int, match: Matching) -> Iterator[Finding]:
    """Weights that change after a step without one: `number` steps were taken."""
    sides = [run.changed.get(number) for run in (a, b)]
    steps = where(a.steps[number - 1].taken, b.steps[number - 1].taken)
    hands = written(a.touched.get(number, []), b.touched.get(number, []), "weight", match, steps)
    names = [set() if e is None else set(e["names"]) for e in sides]
    names[1] = {match.of(n) for n in names[1]}
    if names[0] == names[1] and not (names[0] and hands):
        return
    if hands and (names[0] or names[1]):
        yield Finding("touched", number, f"{hands[1]}, after step {number}.", hands[0], hands[2])
    elif names[0] != names[1]:
        who = "A" if names[0] - names[1] else "B"
        name = sorted(names[0] ^ names[1])[0]
        text = (
            f"{len(names[0] ^ names[1])} parameters are not what step {number} left: {name} first,"
        )
        yield Finding("touched", number, f"{text} in {who} alone.", who, where(*sides))
