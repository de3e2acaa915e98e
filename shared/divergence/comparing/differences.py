"""The first thing in which two recorded runs differ, in the order of causes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shared.divergence.fingerprints import affine, distance, ratio
from shared.divergence.records import Event, Run, Step

Print = dict[str, Any]
# Relative difference that reordered sums explain, for each dtype that was computed in.
ROUNDING = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 5e-2, "float16": 1e-2}
# What of a parameter group changes nothing but the order of sums, or nothing at all.
SILENT = {
    "parameters", "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay",
    "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum",
}  # fmt: skip
SENSITIVE = ("Dropout", "BatchNorm", "InstanceNorm")
RATIOS = ("f1", "precision", "recall", "auc", "auroc", "jaccard", "iou")


@dataclass
class Finding:
    """One difference. `who` is the run that stands out, "A" or "B"; None where neither does.

    `size` is relative; `is_rounding` says that it is no larger than another order of summation
    makes it.
    """

    cause: str
    step: int
    text: str
    who: str | None = None
    where: tuple[list, list] = ((), ())
    size: float | None = None
    is_rounding: bool = False


@dataclass
class Comparison:
    """What came of it: the first real difference, those within rounding before it, and what is
    worth a word without being a difference."""

    finding: Finding | None = None
    rounding: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: int = 0


def compare(a: Run, b: Run) -> Comparison:
    result = Comparison(steps=min(a.trained, b.trained))
    drifted: dict[str, float] = {}  # the largest difference so far, for each cause
    silent: Finding | None = None  # a generator that differs, from which nothing was drawn yet
    for found in _differences(a, b, result.notes):
        if found.cause.startswith("generator"):
            silent = silent or found
            continue
        if found.is_rounding or _has_grown(found, drifted):
            found.is_rounding = True
            kind = found.cause.split("-")[0]
            drifted[kind] = max(drifted.get(kind, 0.0), found.size or 0.0)
            result.rounding.append(found)
            continue
        drawn = found.cause in ("batch-shuffle", "batch-order", "forward-random")
        result.finding = silent if silent is not None and drawn else found
        return result
    if silent is not None:
        result.notes.append(
            f"The generator's state differs from step {silent.step} on; nothing came of it."
        )
    return result


def _has_grown(found: Finding, drifted: dict[str, float]) -> bool:
    """Whether a difference is an earlier one within rounding, grown over the steps.

    It may grow a thousandfold from one event to the next, which is generous; a mistake is larger
    still, or it is in something that is not computed.
    """
    if found.size is None or not drifted:
        return False
    return found.size <= 1000 * max(drifted.values()) and found.size < 0.1


def _differences(a: Run, b: Run, notes: list[str]) -> Iterator[Finding]:
    yield from _initial(a, b)
    repeats = Order(a), Order(b)
    for number in range(1, max(len(a.steps), len(b.steps)) + 1):
        if number > min(len(a.steps), len(b.steps)):
            break
        ours, theirs = a.steps[number - 1], b.steps[number - 1]
        yield from _backwards(a, b, ours, theirs, number, repeats)
        if ours.taken is None or theirs.taken is None:
            break
        yield from _scaling(ours, theirs, number)
        yield from _optimizer(a, b, ours, theirs, number)
        yield from _stepped(ours, theirs, number)
        if number == min(a.trained, b.trained):
            yield from _endings(a, b)  # what comes after the last step is not the other's next
        following = [len(run.steps[number].backwards) for run in (a, b) if number < len(run.steps)]
        if len(set(following)) > 1:
            continue  # one of them leaves its window open here, which is said at the next step
        yield from _evaluations(a, b, number, notes)
        yield from _numbers(a, b, number)
        yield from _saves(a, b, number, notes)
    yield from _unreported(a, b)


# 1. Weights


def _initial(a: Run, b: Run) -> Iterator[Finding]:
    ours = [entry for model in a.models for entry in model["state"]]
    theirs = [entry for model in b.models for entry in model["state"]]
    if not ours or not theirs:
        return
    where = _where(a.built, b.built)
    for kind in ("parameter", "buffer"):
        mine = [(n, f) for n, f in ours if f["kind"] == kind]
        other = [(n, f) for n, f in theirs if f["kind"] == kind]
        left, right = _unmatched(mine, other)
        if left or right:
            fewer = "A" if len(mine) < len(other) else "B" if len(other) < len(mine) else None
            lacking = right if fewer == "A" else left or right
            names = ", ".join(name for name, _ in lacking[:3])
            text = f"A has {len(mine)} {kind}s, B has {len(other)}. "
            text += f"Only in {'B' if fewer == 'A' or not left else 'A'}: {names}."
            yield Finding("weights-missing", 1, text, fewer, where)
            return
        for (name, f), (_, g) in _pairs(mine, other):
            if f["dtype"] != g["dtype"] or f["hash"] != g["hash"]:
                size = _relative(f, g)
                if _is_rounding(size, f):
                    yield Finding("weights", 1, name, None, where, size, True)
                    break
                cause, who, text = _seeding(a, b)
                what = f"The first {kind} that differs is {name}"
                what += f" (norm {f['norm']:.6g} in A, {g['norm']:.6g} in B). {text}"
                yield Finding(cause, 1, what.strip(), who, where, size)
                return


def _seeding(a: Run, b: Run) -> tuple[str, str | None, str]:
    """Why initial weights differ, as far as the calls of torch.manual_seed tell."""
    before = [[s for s in run.seeds if not s["built"]] for run in (a, b)]
    for who, mine, run, other in (("A", before[0], a, before[1]), ("B", before[1], b, before[0])):
        if not mine and other:
            if run.seeds:
                line = _line(run.seeds[0]["where"])
                return "weights-seed-late", who, f"{who} seeds after its model was made{line}."
            return "weights-unseeded", who, f"{who} never calls torch.manual_seed."
    if not before[0] and not before[1]:
        return "weights-unseeded", None, "Neither seeds before its model is made."
    values = [seeds[-1]["value"] for seeds in before]
    if values[0] != values[1]:
        return "weights-seed", None, f"The seed is {values[0]} in A and {values[1]} in B."
    return "weights", None, ""


def _line(where: list) -> str:
    return f" (line {where[0][1]})" if where else ""


def _unmatched(a: list, b: list) -> tuple[list, list]:
    """What of two lists of (name, fingerprint) has no partner, by shape."""
    if [tuple(f["shape"]) for _, f in a] == [tuple(f["shape"]) for _, f in b]:
        return [], []
    spare_a = Counter(tuple(f["shape"]) for _, f in b)
    spare_b = Counter(tuple(f["shape"]) for _, f in a)

    def without(entries: list, spare: Counter) -> list:
        left = []
        for name, f in entries:
            shape = tuple(f["shape"])
            if spare[shape]:
                spare[shape] -= 1
            else:
                left.append((name, f))
        return left

    return without(a, spare_a), without(b, spare_b)


def _pairs(a: list, b: list) -> list[tuple[Any, Any]]:
    """Partners of two lists of (name, fingerprint): by name where the names are the same, else by
    the ends of the names, which wrappers put a prefix to, else by order."""
    names = {name: entry for entry in b for name in [entry[0]]}
    if {n for n, _ in a} == set(names):
        return [(entry, names[entry[0]]) for entry in a]
    found = []
    for entry in a:
        ends = [
            e for n, e in names.items() if n.endswith("." + entry[0]) or entry[0].endswith("." + n)
        ]
        if len(ends) != 1:
            return list(zip(a, b, strict=False))
        found.append((entry, ends[0]))
    return found


# 2. Batches, 3. modes, 4. generator, 5. loss, 6. gradients


class Order:
    """Where in a run a batch was seen before."""

    def __init__(self, run: Run) -> None:
        self.seen: dict[tuple, list[int]] = {}
        self.rows: set[int] = set()
        for number, step in enumerate(run.steps, 1):
            for backward in step.backwards:
                rows = _rows(backward)
                self.rows.update(rows)
                self.seen.setdefault(rows, []).append(number)

    def earlier(self, rows: tuple, number: int) -> int | None:
        return next((n for n in self.seen.get(rows, ()) if n < number), None)


def _rows(backward: Event) -> tuple:
    inputs = [i for forward in backward["forwards"][:1] for i in forward["inputs"][:1]]
    return tuple(row for i in inputs for row in i.get("rows", ()))


def _backwards(
    a: Run, b: Run, ours: Step, theirs: Step, number: int, orders: tuple[Order, Order]
) -> Iterator[Finding]:
    window = max(len(ours.backwards), len(theirs.backwards))
    for i, (x, y) in enumerate(zip(ours.backwards, theirs.backwards, strict=False)):
        # First, since a batch may have been drawn from it; it is reported only if one was.
        yield from _generator(a, b, x, y, number)
        yield from _batch(a, b, x, y, number, orders)
        yield from _modes(x["forwards"], y["forwards"], number, "mode")
        counts = len(ours.backwards), len(theirs.backwards)
        if counts[0] != counts[1] and ours.taken and theirs.taken:
            text = f"A ran {counts[0]} backward passes for this step, B ran {counts[1]}."
            yield Finding("window", number, text, None, _where(ours.taken, theirs.taken))
        yield from _outputs(x["forwards"], y["forwards"], number, "forward", _scores(x, y))
        yield from _loss(x, y, number, window)
        yield from _gradients(x, y, number, i)


def _batch(
    a: Run, b: Run, x: Event, y: Event, number: int, orders: tuple[Order, Order]
) -> Iterator[Finding]:
    where = _where(*(v["forwards"][0] if v["forwards"] else v for v in (x, y)))
    pairs = list(zip(x["forwards"], y["forwards"], strict=False))
    if len(x["forwards"]) != len(y["forwards"]):
        pairs = pairs[:1]
    for f, g in pairs:
        for left, right in zip(f["inputs"], g["inputs"], strict=False):
            yield from _inputs(left, right, number, where, orders, (x, y))
    for f, g in zip(x["losses"], y["losses"], strict=False):
        if f["target"] and g["target"]:
            for found in _inputs(f["target"], g["target"], number, _where(f, g), orders, (x, y)):
                found.text = f"The target of the loss. {found.text}"
                found.cause = found.cause.replace("batch-values", "batch-target")
                yield found


def _inputs(
    f: Print,
    g: Print,
    number: int,
    where: tuple[list, list],
    orders: tuple[Order, Order] | None = None,
    backwards: tuple[Event, Event] | None = None,
) -> Iterator[Finding]:
    """One tensor that went in, on both sides."""

    def found(cause: str, text: str, who: str | None = None, size: float | None = None) -> Finding:
        return Finding(cause, number, text, who, where, size)

    types = [p["device"].split(":")[0] for p in (f, g)]
    if f["dtype"] != g["dtype"]:
        yield found("batch-dtype", f"{f['dtype']} in A, {g['dtype']} in B.")
    elif types[0] != types[1]:
        yield found("batch-device", f"On {f['device']} in A, on {g['device']} in B.")
    elif f["hash"] == g["hash"]:
        return
    elif f["shape"][:1] != g["shape"][:1]:
        yield found("batch-size", f"Shape {f['shape']} in A, {g['shape']} in B.")
    elif f["shape"] != g["shape"]:
        yield found("batch-shape", f"Shape {f['shape']} in A, {g['shape']} in B.")
    elif f.get("rows") and sorted(f["rows"]) == sorted(g.get("rows", ())):
        yield found("batch-order", "The same samples, in another order within the batch.")
    else:
        if orders and backwards:
            repeated = [o.earlier(_rows(v), number) for o, v in zip(orders, backwards, strict=True)]
            if (repeated[0] is None) != (repeated[1] is None):
                who, first = ("A", repeated[0]) if repeated[0] else ("B", repeated[1])
                yield found(
                    "batch-repeated", f"In {who} it is the batch of step {first} again.", who
                )
                return
            common = [row for row in f.get("rows", ()) if row in orders[1].rows]
            back = [row for row in g.get("rows", ()) if row in orders[0].rows]
            if (
                len(common) > len(f.get("rows", ())) // 20
                or len(back) > len(f.get("rows", ())) // 20
            ):
                yield found("batch-shuffle", "Samples that the other run has in another batch.")
                return
        line = affine(f, g)
        size = _relative(f, g)
        if _is_rounding(size, f) and "float" in f["dtype"]:
            yield Finding("batch", number, "", None, where, size, True)
        elif line is not None:
            text = f"The values of A are those of B times {line[0]:.4g} plus {line[1]:.4g}."
            yield found("batch-normalised", text, None, size)
        else:
            text = f"Norm {f['norm']:.6g} in A, {g['norm']:.6g} in B."
            yield found("batch-values", text, None, size)


def _modes(x: list[Event], y: list[Event], number: int, cause: str) -> Iterator[Finding]:
    leaves = [[leaf for f in v for leaf in f["leaves"]] for v in (x, y)]
    if [leaf[1] for leaf in leaves[0]] != [leaf[1] for leaf in leaves[1]]:
        leaves = [[v for v in side if v[1].startswith(SENSITIVE)] for side in leaves]
        if len(leaves[0]) != len(leaves[1]):
            return
    apart = [(p, q) for p, q in zip(*leaves, strict=True) if p[2] != q[2]]
    if apart:
        who = "A" if apart[0][0][2] == (cause != "mode") else "B"
        shown = next((p for p in apart if p[0][1].startswith(SENSITIVE)), apart[0])
        leaf = shown[0 if who == "A" else 1]
        mode = "eval" if cause == "mode" else "training"
        text = f"In {who}, {len(apart)} of {len(leaves[0])} layers are in {mode} mode"
        text += f" ({leaf[0]}, a {leaf[1]}, is one)."
        yield Finding(cause, number, text, who, _where(x[0], y[0]))


def _generator(a: Run, b: Run, x: Event, y: Event, number: int) -> Iterator[Finding]:
    states = [[f["rng"] for f in v["forwards"]][:1] for v in (x, y)]
    if states[0] == states[1] or not all(states):
        return
    since = 0
    for i, (p, q) in enumerate(zip(a.steps[: number - 1], b.steps, strict=False), 1):
        mine, other = ([f["rng"] for v in s.backwards for f in v["forwards"]] for s in (p, q))
        if mine == other:
            since = i
    between = [
        ([s for s in run.seeds if since <= s["step"] < number],
         [v for v in run.loaders if since <= v["step"] < number and v["drew"]])
        for run in (a, b)
    ]  # fmt: skip
    where = _where(x["forwards"][0], y["forwards"][0])
    seeds = [[s["value"] for s in v[0]] for v in between]
    if seeds[0] != seeds[1]:
        if len(seeds[0]) != len(seeds[1]):
            who = "A" if len(seeds[0]) < len(seeds[1]) else "B"
            event = between[1 if who == "A" else 0][0][-1]
            other = "B" if who == "A" else "A"
            text = f"{other} calls torch.manual_seed({event['value']}) before this step, {who} does"
            text += " not."
            where = _where(event if other == "A" else x, event if other == "B" else y)
            yield Finding("generator-seed", number, text, who, where)
        else:
            text = f"Seeded with {seeds[0][-1]} in A, with {seeds[1][-1]} in B."
            where = _where(between[0][0][-1], between[1][0][-1])
            yield Finding("generator-seed", number, text, None, where)
        return
    draws = [len(v[1]) for v in between]
    if draws[0] != draws[1]:
        who = "A" if draws[0] > draws[1] else "B"
        events = between[0 if who == "A" else 1][1]
        event = next((e for e in reversed(events) if e["step"] < number), events[-1])
        text = f"{who} drew from it when an iterator over a DataLoader of {event['size']} samples"
        text += " was made."
        where = (event["where"], where[1]) if who == "A" else (where[0], event["where"])
        yield Finding("generator-loader", number, text, who, where)
    else:
        yield Finding(
            "generator", number, "Its state differs before the forward pass.", None, where
        )


def _scores(x: Event, y: Event) -> tuple[Print, Print] | None:
    """What the loss was computed from, where both called a loss: a module may return its loss."""
    calls = x["losses"], y["losses"]
    if not all(calls) or len(calls[0]) != len(calls[1]):
        return None
    last = calls[0][-1], calls[1][-1]
    if last[0]["probabilities"] != last[1]["probabilities"]:
        return last[0]["input"], last[0]["input"]  # a softmax between, of which the loss speaks
    return last[0]["input"], last[1]["input"]


def _outputs(
    x: list[Event], y: list[Event], number: int, cause: str, scores: tuple | None = None
) -> Iterator[Finding]:
    """What the model gave: `scores`, or else the first tensor that its call returned."""
    if not x or not y:
        return
    where = _where(x[-1], y[-1])
    leaves = [[leaf for v in side for leaf in v["leaves"]] for side in (x, y)]
    first = None
    if [leaf[1] for leaf in leaves[0]] == [leaf[1] for leaf in leaves[1]]:
        first = next((p for p in zip(*leaves, strict=True) if p[0][3:] != p[1][3:]), None)
    named = (
        f"The first layer whose output differs is {first[0][0]}, a {first[0][1]}" if first else ""
    )
    if first and first[0][4] != first[1][4]:
        lower = {"float16", "bfloat16"}
        who = "A" if first[1][4] in lower else "B" if first[0][4] in lower else None
        text = f"{named}: {first[0][4]} in A, {first[1][4]} in B."
        yield Finding(f"{cause}-autocast", number, text, who, where)
        return
    if not scores and not (x[-1]["outputs"] and y[-1]["outputs"]):
        return
    f, g = scores or (x[-1]["outputs"][0], y[-1]["outputs"][0])
    if f["hash"] == g["hash"] and f["dtype"] == g["dtype"]:
        return
    if f["shape"] != g["shape"]:
        text = f"Shape {f['shape']} in A, {g['shape']} in B."
        yield Finding(f"{cause}-shape", number, text, None, where)
        return
    size = _relative(f, g)
    if first and first[0][1].startswith(("Dropout", "AlphaDropout")) and cause == "forward":
        # Other masks are another draw; they are no rounding, however small the difference.
        yield Finding("forward-random", number, f"{named}.", None, where, size)
        return
    computed = first[0][4] if first else f["dtype"]
    small = size <= ROUNDING.get(computed, 2e-5)
    yield Finding(cause, number, f"{named}." if named else "", None, where, size, small)


def _loss(x: Event, y: Event, number: int, window: int) -> Iterator[Finding]:
    f, g = x["loss"], y["loss"]
    if not f or not g or (f["hash"] == g["hash"] and f["dtype"] == g["dtype"]):
        return
    where = _where(x, y)
    values = f"{f['values'][0]:.7g} in A, {g['values'][0]:.7g} in B"
    size = _relative(f, g)
    for p, q in zip(x["losses"], y["losses"], strict=False):
        where = _where(p, q)
        if p["probabilities"] != q["probabilities"]:
            who = "A" if p["probabilities"] else "B"
            text = f"{who} gives {p['name']} probabilities, not logits. Loss: {values}."
            yield Finding("loss-softmax", number, text, who, where, None)
            return
        if p["reduction"] != q["reduction"]:
            who = "A" if p["reduction"] == "sum" else "B" if q["reduction"] == "sum" else None
            text = f"Reduction {p['reduction']} in A, {q['reduction']} in B. Loss: {values}."
            yield Finding("loss-reduction", number, text, who, where, None)
            return
        if p["name"] != q["name"] or p["options"] != q["options"]:
            text = f"{_call(p)} in A, {_call(q)} in B. Loss: {values}."
            yield Finding("loss-function", number, text, None, where, None)
            return
    where = _where(x, y)
    factor = f["values"][0] / g["values"][0] if g["values"][0] else math.inf
    batch = max([p["batch"] for p in x["losses"] + y["losses"]], default=0)
    for count, cause in ((window, "loss-not-divided"), (batch, "loss-reduction")):
        for who, times in (("A", factor), ("B", 1 / factor if factor else math.inf)):
            if count > 1 and abs(times / count - 1) < 1e-3:
                text = f"The loss of {who} is {count} times the other's: {values}."
                yield Finding(cause, number, text, who, where, None)
                return
    small = _is_rounding(size, f, _computed(x))
    yield Finding("loss", number, f"{values}.", None, where, size, small)


def _call(loss: Event) -> str:
    options = ", ".join(f"{k}={v}" for k, v in loss["options"].items())
    return f"{loss['name']}({options})"


def _computed(backward: Event) -> str | None:
    """The lowest precision that a layer computed in."""
    used = {leaf[4] for f in backward["forwards"] for leaf in f["leaves"]}
    return next((d for d in ("bfloat16", "float16") if d in used), None)


def _gradients(x: Event, y: Event, number: int, micro: int) -> Iterator[Finding]:
    where = _where(x, y)
    before = x["leftover"], y["leftover"]
    if (before[0] == 0) != (before[1] == 0):
        if micro == 0:
            who = "A" if before[0] else "B"
            text = f"When backward() began, {who} still held gradients of the step before (norm"
            text += f" {max(before):.4g}); the other held none."
            yield Finding("zero_grad-forgotten", number, text, who, where)
        else:
            who = "A" if not before[0] else "B"
            text = f"When backward pass {micro + 1} of the step began, the gradients of the ones"
            text += f" before were gone in {who}."
            yield Finding("zero_grad-in-window", number, text, who, where)
        return
    wrapped = [any(f["wrapped"] for f in v["forwards"]) for v in (x, y)]
    for found in _tensors(x["gradients"], y["gradients"], number, "gradients", where, _computed(x)):
        if wrapped[0] != wrapped[1]:
            found.cause, found.who = "gradients-unsynchronised", "A" if wrapped[1] else "B"
            found.is_rounding = False
            found.where = _where(x["forwards"][0], y["forwards"][0])
        yield found


def _tensors(
    x: list, y: list, number: int, cause: str, where: tuple, computed: str | None = None
) -> Iterator[Finding]:
    """The first of several named tensors that differs. Sizes are relative to all of them together:
    a gradient that is zero but for rounding is entirely rounding."""
    left, right = _unmatched(x, y)
    if left or right:
        name = (left or right)[0][0]
        who = "B" if left else "A"
        text = f"{name} has one in {'A' if left else 'B'}, and none in {who}."
        yield Finding(f"{cause}-missing", number, text, who, where)
        return
    apart = [(p, q) for p, q in _pairs(x, y) if p[1]["hash"] != q[1]["hash"]]
    if not apart:
        return
    whole = math.sqrt(sum(p[1]["norm"] ** 2 for p in y)) or 1.0
    size = math.sqrt(sum(distance(p[1], q[1]) ** 2 for p, q in apart)) / whole
    (name, f), (_, g) = apart[0]
    factors = [ratio(p[1], q[1]) for p, q in apart]
    if len(apart) == len(x) and None not in factors and max(factors) / min(factors) - 1 < 1e-2:
        text = f"Those of A are those of B times {factors[0]:.5g}, all of them."
        yield Finding(f"{cause}-scaled", number, text, None, where, size)
        return
    text = f"{len(apart)} of {len(x)} differ; the first is {name} (norm {f['norm']:.6g} in A,"
    text += f" {g['norm']:.6g} in B)."
    small = size <= ROUNDING.get(computed or f["dtype"], 2e-5)
    yield Finding(cause, number, text, None, where, size, small)


def _scaling(ours: Step, theirs: Step, number: int) -> Iterator[Finding]:
    clips = [[e for e in s.scaling if e["kind"] == "clip"] for s in (ours, theirs)]
    where = _where(*((c or [s.taken])[0] for c, s in zip(clips, (ours, theirs), strict=True)))
    if bool(clips[0]) != bool(clips[1]):
        who = "A" if not clips[0] else "B"
        there = (clips[0] or clips[1])[0]
        where = _where(
            *(c[0] if c else s.taken for c, s in zip(clips, (ours, theirs), strict=True))
        )
        text = f"{who} does not clip; the other clips to {there['limit']:g}."
        if there["norm"] is not None:
            text += f" The norm was {there['norm']:.4g}."
        yield Finding("clip-missing", number, text, who, where)
        return
    kinds = [[e["kind"] for e in s.scaling] for s in (ours, theirs)]
    if kinds[0] != kinds[1] and sorted(kinds[0]) == sorted(kinds[1]):
        who = "A" if kinds[0][0] == "clip" else "B"
        scale = max(
            [e["scale"] for s in (ours, theirs) for e in s.scaling if e["kind"] == "unscale"]
        )
        text = f"{who} clips before it unscales, gradients that are {scale:g} times too large."
        yield Finding("clip-scaled", number, text, who, where)
    elif [e["micro"] for e in clips[0]] != [e["micro"] for e in clips[1]]:
        who = "A" if len(clips[0]) > len(clips[1]) else "B"
        text = f"A clips {len(clips[0])} times for this step, B {len(clips[1])} times."
        yield Finding("clip-early", number, text, who, where)
    else:
        for p, q in zip(*clips, strict=True):
            if p["limit"] != q["limit"]:
                text = f"To a norm of {p['limit']:g} in A, {q['limit']:g} in B."
                yield Finding("clip-limit", number, text, None, _where(p, q))
    x, y = ours.taken, theirs.taken
    where = _where(x, y)
    computed = _computed(ours.backwards[-1]) if ours.backwards else None
    for found in _tensors(x["gradients"], y["gradients"], number, "clipped", where, computed):
        if found.cause == "clipped-missing":
            continue  # of a parameter that one optimizer does not hold, which comes next
        yield found


# 7. Optimizer, 8. weights after the step


def _optimizer(a: Run, b: Run, ours: Step, theirs: Step, number: int) -> Iterator[Finding]:
    x, y = ours.taken, theirs.taken
    made = x["made"] or x["where"], y["made"] or y["where"]
    if x["optimizer"] != y["optimizer"]:
        text = f"{x['optimizer']} in A, {y['optimizer']} in B."
        yield Finding("optimizer-class", number, text, None, made)
        return
    for p, q in ((x, "A"), (y, "B")):
        other = y if q == "A" else x
        total = sum(g["parameters"] for g in p["groups"])
        if p["foreign"] == total and not other["foreign"]:
            text = (
                f"{p['foreign']} of the {total} parameters {q}'s optimizer holds are not those of"
            )
            text += " the model that is trained."
            yield Finding("optimizer-foreign", number, text, q, made)
            return
        if len(p["missing"]) > len(other["missing"]):
            names = ", ".join(p["missing"][:3])
            text = (
                f"{len(p['missing'])} parameters of the model are in no optimizer of {q}: {names}."
            )
            yield Finding("optimizer-missing", number, text, q, made)
            return
    if len(x["groups"]) != len(y["groups"]):
        text = f"{len(x['groups'])} parameter groups in A, {len(y['groups'])} in B."
        yield Finding("optimizer-groups", number, text, None, made)
        return
    for i, (p, q) in enumerate(zip(x["groups"], y["groups"], strict=True)):
        for key in ("lr", *sorted(p.keys() & q.keys() - SILENT - {"lr"})):
            if key in p and not _same(p[key], q[key]):
                group = f" (group {i + 1})" if len(x["groups"]) > 1 else ""
                text = f"{key}{group} is {_value(p[key])} in A, {_value(q[key])} in B."
                cause, who, more = "optimizer-option", None, ""
                if key == "lr":
                    cause, who, more = _schedule(a, b, number)
                    if cause != "optimizer-lr":
                        made = x["where"], y["where"]
                yield Finding(cause, number, text + more, who, made)
                return


def _value(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _same(p: Any, q: Any) -> bool:
    if isinstance(p, (list, tuple)) and isinstance(q, (list, tuple)):
        return len(p) == len(q) and all(map(_same, p, q))
    numbers = all(isinstance(v, (int, float)) for v in (p, q))
    return math.isclose(p, q, rel_tol=1e-9, abs_tol=1e-15) if numbers else p == q


def _schedule(a: Run, b: Run, number: int) -> tuple[str, str | None, str]:
    """Why a learning rate differs: which steps of each run it changed at."""
    moves = []
    for run in (a, b):
        rates = [s.taken["groups"][0].get("lr") for s in run.steps if s.taken]
        moves.append([i for i in range(2, len(rates) + 1) if rates[i - 1] != rates[i - 2]])
    if number == 1:
        return "optimizer-lr", None, ""
    for who, mine, other, run in (("A", moves[0], moves[1], a), ("B", moves[1], moves[0], b)):
        if len(mine) < len(other):
            starts = {v["step"] + 1 for v in run.loaders}
            if mine and set(mine) <= starts:
                return "schedule-epoch", who, f" In {who} it moves at the start of an epoch only."
            if not mine:
                return "schedule-still", who, f" In {who} it never moved in {run.trained} steps."
            return "schedule-epoch", who, f" In {who} it moves at fewer steps: {mine[:4]}."
    return "schedule", None, ""


def _stepped(ours: Step, theirs: Step, number: int) -> Iterator[Finding]:
    x, y = ours.taken, theirs.taken
    where = _where(x, y)
    momenta = [k for k in x["momenta"].keys() ^ y["momenta"].keys()]
    more = f" Optimizer state only on one side: {', '.join(sorted(momenta))}." if momenta else ""
    for found in _tensors(x["weights"], y["weights"], number, "stepped", where):
        found.text += more
        yield found
    if len(x["buffers"]) == len(y["buffers"]):
        yield from _tensors(x["buffers"], y["buffers"], number, "buffers", where)


# 9. Evaluation


def _evaluations(a: Run, b: Run, number: int, notes: list[str]) -> Iterator[Finding]:
    mine, other = a.evaluations.get(number, []), b.evaluations.get(number, [])
    if not mine or not other:
        if mine or other:
            who = "A" if mine else "B"
            _note(notes, f"Only {who} evaluates: after step {number}, for the first time.", "Only")
        return
    for x, y in zip(mine, other, strict=False):
        yield from _modes([x], [y], number, "evaluation-mode")
        if x["grad"] != y["grad"]:
            who = "A" if x["grad"] else "B"
            text = f"{who} evaluates with gradients on: each batch builds a graph for nothing."
            yield Finding("evaluation-grad", number, text, who, _where(x, y))
        if "state" in x and "state" in y:
            for who, found in _states(a, b, x["state"], y["state"], number):
                yield Finding("evaluation-weights", number, found, who, _where(x, y))
        for f, g in zip(x["inputs"], y["inputs"], strict=False):
            for found in _inputs(f, g, number, _where(x, y)):
                found.cause = "evaluation" if found.is_rounding else "evaluation-batch"
                yield found
        # A module may return its loss, or nothing: what it gave is then that of the loss.
        losses = _losses(a, b, number)
        scores = (losses[0][0]["input"], losses[0][0]["input"]) if losses else None
        yield from _outputs([x], [y], number, "evaluation", scores)
    for x, y in _losses(a, b, number):
        f, g = x["input"], y["input"]
        if f["hash"] != g["hash"] and f["shape"] == g["shape"]:
            size = _relative(f, g)
            small = _is_rounding(size, f)
            text = "What the model gave differs."
            yield Finding("evaluation", number, text, None, _where(x, y), size, small)
    if len(mine) != len(other):
        text = f"A evaluated {len(mine)} batches after this step, B {len(other)}."
        sizes = [sum(e["inputs"][0]["shape"][0] for e in v if e["inputs"]) for v in (mine, other)]
        text += f" That is {sizes[0]} samples and {sizes[1]}."
        yield Finding("evaluation-batches", number, text, None, _where(mine[-1], other[-1]))


def _losses(a: Run, b: Run, number: int) -> list[tuple[Event, Event]]:
    mine, other = (run.eval_losses.get(number, []) for run in (a, b))
    return list(zip(mine, other, strict=True)) if len(mine) == len(other) else []


def _states(a: Run, b: Run, x: list, y: list, number: int) -> Iterator[tuple[str | None, str]]:
    trained = [n for n, _ in a.steps[number - 1].taken["weights"]]
    if len(x) != len(y) or [f[2] for f in x] != [f[2] for f in y]:
        return
    apart = [(p, q) for p, q in zip(x, y, strict=True) if p[1] != q[1]]
    if not apart:
        return
    is_last = []
    for run, state in ((a, x), (b, y)):
        last = {f["hash"] for _, f in run.steps[number - 1].taken["weights"]}
        is_last.append(last <= {f[1] for f in state})
    if is_last[0] == is_last[1]:
        # Weights that drifted by rounding differ here too, and were looked at after the step.
        return
    who, other = ("A", "B") if is_last[0] else ("B", "A")
    yield (
        who,
        (
            f"{who} evaluates the weights of step {number}, the last; {other} has loaded others."
            f" {len(apart)} tensors differ" + (f", {apart[0][0][0]} first." if trained else ".")
        ),
    )


def _numbers(a: Run, b: Run, number: int) -> Iterator[Finding]:
    mine, other = (_by_tag(run.numbers.get(number, [])) for run in (a, b))
    found: list[Finding] = []
    # Where one run reports a quantity more often, there is no telling which belong together.
    for tag in [tag for tag in mine if len(mine[tag]) == len(other.get(tag, []))]:
        for p, q in zip(mine[tag], other[tag], strict=True):
            size = abs(p["value"] - q["value"]) / max(abs(q["value"]), 1e-12)
            if p["value"] == q["value"] or (math.isnan(p["value"]) and math.isnan(q["value"])):
                continue
            text = f"{tag} is {p['value']:.7g} in A, {q['value']:.7g} in B."
            if size <= 2e-5:
                found.append(Finding("reported", number, text, None, _where(p, q), size, True))
                continue
            cause, who = _how_averaged(a, b, number, p["value"], q["value"])
            if cause is None:
                is_ratio = any(word in tag.lower() for word in RATIOS)
                cause = "reported-ratio" if is_ratio else "reported"
            found.append(Finding(cause, number, text, who, _where(p, q)))
    # A number whose error is understood says more than the others.
    yield from sorted(found, key=lambda f: f.cause == "reported")


def _how_averaged(a: Run, b: Run, number: int, p: float, q: float) -> tuple[str | None, str | None]:
    """Whether a reported number is a mean that the recorded losses of the batches explain."""
    for who, run, value, right in (("A", a, p, q), ("B", b, q, p)):
        losses = run.eval_losses.get(number, [])
        for name in {e["pass"] for e in losses}:
            batches = [e for e in losses if e["pass"] == name]
            values = [e["value"] for e in batches]
            if None in values:
                continue
            sizes = [e["batch"] for e in batches]
            plain = sum(values) / len(values)
            weighted = _mean(values, sizes)
            everything = [e for n, v in run.eval_losses.items() if 0 < n <= number for e in v]
            since = _mean([e["value"] for e in everything], [e["batch"] for e in everything])
            if math.isclose(right, weighted, rel_tol=1e-5):
                if math.isclose(value, plain, rel_tol=1e-5):
                    return "evaluation-mean", who
                if math.isclose(value, since, rel_tol=1e-5):
                    return "evaluation-reset", who
    return None, None


def _mean(values: list[float], sizes: list[int]) -> float:
    return sum(v * n for v, n in zip(values, sizes, strict=True)) / (sum(sizes) or 1)


def _by_tag(events: list[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event["tag"], []).append(event)
    return found


# 10. What was saved


def _saves(a: Run, b: Run, number: int, notes: list[str]) -> Iterator[Finding]:
    mine, other = a.saves.get(number, []), b.saves.get(number, [])
    if not a.saves or not b.saves:
        if mine or other:
            who = "A" if mine else "B"
            _note(notes, f"Only {who} saves: after step {number}, for the first time.", "Only")
        return
    for x, y in zip(mine, other, strict=False):
        where = _where(x, y)
        for key, cause in (("optimizer", "saved-optimizer"), ("schedule", "saved-schedule")):
            if x[key] != y[key]:
                who = "A" if y[key] else "B"
                what = "the optimizer" if key == "optimizer" else "a schedule"
                yield Finding(cause, number, f"{who} saves no state of {what}.", who, where)
                return
        if x["weights"] != y["weights"]:
            names = {
                "current": "its weights of this step",
                "others": "other tensors",
                "none": "none",
            }
            text = f"A saves {names[x['weights']]}, B {names[y['weights']]}."
            yield Finding("saved-weights", number, text, None, where)
            return
    if len(mine) != len(other):
        who = "A" if len(mine) < len(other) else "B"
        text = f"After this step A saves {len(mine)} times, B {len(other)} times."
        last = [(v or [{"where": []}])[-1] for v in (mine, other)]
        yield Finding("saved-when", number, text, who, _where(*last))


# The end


def _endings(a: Run, b: Run) -> Iterator[Finding]:
    counts = a.trained, b.trained
    if counts[0] == counts[1]:
        return
    who = "A" if counts[0] < counts[1] else "B"
    run, other = (a, b) if who == "A" else (b, a)
    if run.end is None or run.end["how"] != "finished":
        return  # it crashed or was stopped, which is said in its own words
    taken = run.steps[min(counts) - 1].taken if min(counts) else None
    where = [taken["where"] if taken else [], other.steps[min(counts)].taken["where"]]
    text = f"{who} ends after {min(counts)} steps; the other goes on."
    order = where if who == "A" else where[::-1]
    yield Finding("steps", min(counts) + 1, text, None, tuple(order))


def _unreported(a: Run, b: Run) -> Iterator[Finding]:
    """A quantity that only one run has reported, where both report others under the same names."""
    mine, other = (_by_tag([e for v in run.numbers.values() for e in v]) for run in (a, b))
    if not mine.keys() & other.keys():
        return
    for who, run, ours, theirs in (("A", b, mine, other), ("B", a, other, mine)):
        for tag in [tag for tag in theirs if tag not in ours]:
            if any(word in tag for word in ("loss", "acc", "f1")):
                event = theirs[tag][0]
                text = f"The other run reports {tag} {len(theirs[tag])} times; {who} never does."
                where = ([], event["where"]) if who == "A" else (event["where"], [])
                yield Finding("reported-missing", event["step"], text, who, where)


def _relative(f: Print, g: Print) -> float:
    return distance(f, g) / (g["norm"] or f["norm"] or 1.0)


def _is_rounding(size: float, f: Print, computed: str | None = None) -> bool:
    return size <= ROUNDING.get(computed or f["dtype"], 0.0)


def _where(x: Event | None, y: Event | None) -> tuple[list, list]:
    return (x or {}).get("where", []), (y or {}).get("where", [])


def _note(notes: list[str], text: str, start: str) -> None:
    if not any(n.startswith(text.split(":")[0]) for n in notes):
        notes.append(text)
