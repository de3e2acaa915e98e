"""What a step computes: outputs, loss and gradients, led back to the call of torch where the two
programs part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..fingerprints import Print, close, distance, ratio, same
from ..records import Backward, Forward, Loss, Named, Operation, Run
from .batches import inputs
from .calls import Change, Drift, changes, drawn_otherwise, is_random, matters
from .finding import Finding, called, lowest, paired, relative, rounding_of, where
from .losses import are_alike, broadcast, is_softmaxed, special_of
from .matching import Matching
from .parting import graphs, parted, valued

LOWER = {"float16", "bfloat16"}
CASTS = {"to", "type", "type_as", "half", "bfloat16", "float", "double"}


def computed(
    a: Run, b: Run, x: Backward, y: Backward, number: int, window: int, drift: Drift
) -> Iterator[Finding]:
    f, g = x["loss"], y["loss"]
    sides = graphs(x["operations"]), graphs(y["operations"])
    every = valued(x["operations"]), valued(y["operations"])
    if f and g and same(f, g):
        if not drift.size:
            drift.harmless |= {change.key for change in changes(*sides)}
        return
    if against := broadcast(x, y, number):
        yield against
        return
    scores = _scores(x, y)
    if not drift.size:
        if scores is not None and not same(*scores) and not _gave_the_same(x, y):
            within = tuple([p for p in side if p["layer"]] for side in sides)
            found = _otherwise(
                a, b, within, every, scores, number, "forward", [x["forwards"], y["forwards"]]
            )
        elif not f or not g:
            return
        elif special := special_of(x, y, f, g, number, window):
            yield special
            return
        else:
            events = [[x, *x["losses"]], [y, *y["losses"]]]
            found = _otherwise(a, b, sides, every, (f, g), number, "loss", events)
        yield found
        if not found.is_rounding:
            return
    if f and g:
        losses = {loss["name"] for v in (x, y) for loss in v["losses"]}
        yield from called_otherwise(sides, relative(f, g), number, drift, losses)
        text = f"The loss is {_first(f)} in A, {_first(g)} in B."
        yield Finding("loss", number, text, None, where(x, y), relative(f, g))


def _first(f: Print) -> str:
    return f"{f['values'][0]:.7g}" if f["values"] else "not known"


def called_otherwise(
    sides: tuple[list[Operation], list[Operation]], whole: float, number: int, drift: Drift,
    losses: set[str], kind: str = "",
) -> Iterator[Finding]:  # fmt: skip
    """Calls that were the same so far, or made no difference, in runs that differ by rounding.

    Args:
        whole: the relative difference of what all calls together gave.
        kind: what is computed; by default what the module of each call says.
    """
    for change in changes(*sides):
        if change.key in drift.harmless:
            continue
        if not change.is_definite and not matters(change, whole, drift.size):
            drift.harmless.add(change.key)
            continue
        p, q = (side[0] if side else None for side in (change.ours, change.theirs))
        there = p or q
        assert there is not None
        kind = kind or ("forward" if there["layer"] and there["name"] not in losses else "loss")
        cause, text, who = _named(change, kind, losses)
        yield Finding(cause, number, text, who, where(p, q), whole)
        return
    if drawn := drawn_otherwise(*sides):
        p, q = drawn
        kind = kind or ("forward" if p["layer"] else "loss")
        text = f"{called(p)} drew other numbers."
        yield Finding(f"{kind}-random", number, text, None, where(p, q), whole)


def _named(change: Change, kind: str, losses: set[str]) -> tuple[str, str, str | None]:
    if not change.ours or not change.theirs:
        who, more = ("A", change.ours) if change.ours else ("B", change.theirs)
        return f"{kind}-more", f"{who} calls {called(more[0])}, which the other does not.", None
    p, q = change.ours[0], change.theirs[0]
    if p["name"] != q["name"]:
        return f"{kind}-call", f"A calls {called(p)} where B calls {called(q)}.", None
    text = f"A calls {called(p)}, B calls {called(q)}."
    cause = "random" if is_random(p) else "argument"
    return ("loss-function" if p["name"] in losses else f"{kind}-{cause}"), text, None


def _gave_the_same(x: Backward, y: Backward) -> bool:
    """Whether the models gave the same to the bit, and the two programs part behind them."""
    pairs = [[f for v in side["forwards"] for f in v["outputs"]] for side in (x, y)]
    if not pairs[0] or len(pairs[0]) != len(pairs[1]):
        return False
    return all(same(p, q) for p, q in zip(*pairs, strict=True))


def _scores(x: Backward, y: Backward) -> tuple[Print, Print] | None:
    """What the model gave: what the loss was computed from where both called a loss, as a module
    may return its loss; else the first tensor that its call returned."""
    calls = x["losses"], y["losses"]
    if all(calls) and len(calls[0]) == len(calls[1]):
        last = paired(*calls)[-1]
        if is_softmaxed(last[0]) != is_softmaxed(last[1]):
            return None  # a softmax between, of which the loss speaks
        for p, q in paired(*calls):
            if not same(p["input"], q["input"]):
                return p["input"], q["input"]
        return last[0]["input"], last[1]["input"]
    forwards = x["forwards"], y["forwards"]
    if len(forwards[0]) != len(forwards[1]) or not all(forwards):
        return None
    outputs = forwards[0][-1]["outputs"], forwards[1][-1]["outputs"]
    return (outputs[0][0], outputs[1][0]) if all(outputs) else None


def _otherwise(
    a: Run, b: Run, sides: Sequence[list[Operation]], every: Sequence[list[Operation]],
    prints: tuple[Print, Print], number: int, kind: str, events: Sequence[Sequence[Any]],
) -> Finding:  # fmt: skip
    """What is behind a result that differs, where all that led to it was equal.

    Args:
        sides: the calls of each program that may have given what differs, in their order.
        every: all calls of each program.
        events: what tells a line of each program where no call does: the last.
    """
    p, q = parted(sides[0], sides[1], every[0], every[1])
    f, g = prints
    lines = where(*(c or (e[-1] if e else None) for c, e in zip((p, q), events, strict=True)))
    size = relative(f, g) if f["shape"] == g["shape"] else math.inf
    shown = ""
    if f["values"] and g["values"] and kind == "loss":
        shown = f" Loss: {_first(f)} in A, {_first(g)} in B."

    def found(cause: str, text: str, who: str | None = None, reason: str = "") -> Finding:
        return Finding(cause, number, text + shown, who, lines, size, reason)

    small = size <= rounding_of(lowest([*sides[0], *sides[1]]))
    compiled = [run.end["compiled"] if run.end else None for run in (a, b)]
    if any(compiled) and (p is None or q is None):
        who = "A" if not compiled[1] else "B" if not compiled[0] else None
        lines = where(*({"where": c} if c else e for c, e in zip(compiled, (p, q), strict=True)))
        text = f"{who} compiles" if who else "Both compile"
        reason = "compiled code may take sums in another order" if small else ""
        return found("compiled", f"{text}: single calls are not seen.", None, reason)
    if p is None and q is None:
        cause = f"{kind}-shape" if f["shape"] != g["shape"] and kind == "forward" else kind
        reason = _surroundings(a, b, f) if small else ""
        return found(cause, "The call is not known.", reason=reason)
    if p is None or q is None:
        who, more = ("B", q) if p is None else ("A", p)
        assert more is not None
        text = f"{who} calls {called(more)}, whose result the other has nowhere; all that the other"
        return found(f"{kind}-more", f"{text} computes is in {who} too.")
    if p["dtype"] != q["dtype"] and (p["name"] == q["name"] or {p["name"], q["name"]} & CASTS):
        full = "A" if q["dtype"] in LOWER else "B" if p["dtype"] in LOWER else None
        text = f"The first result that differs is that of {called(p)}: {p['dtype']} in A,"
        return found(f"{kind}-autocast", f"{text} {q['dtype']} in B.", full)
    if p["name"] != q["name"]:
        text = f"A calls {called(p)} where B calls {called(q)}."
        near = _meet(sides, p, q, size) or (
            kind == "loss" and small and are_alike(events[0][1:], events[1][1:])
        )
        reason = f"A calls {p['name']} where B calls {q['name']}" if near else ""
        if f["shape"] != g["shape"] and kind == "forward":
            return found("forward-shape", f"Shape {f['shape']} in A, {g['shape']} in B. {text}")
        return found(f"{kind}-call" if not is_random(p) else f"{kind}-random", text, None, reason)
    given = p["given"], q["given"]
    keys = [k for k in {**given[0], **given[1]} if given[0].get(k) != given[1].get(k)]
    if keys and set(p["inputs"]) != set(q["inputs"]) and not is_random(p):
        return found(f"{kind}-call", f"A calls {called(p)} where B calls {called(q)}.")
    # A layer may give by name what a call gives by position.
    is_other = sorted(given[0].values()) != sorted(given[1].values())
    if keys and (is_other or p["layer"] == q["layer"] or not (p["layer"] and q["layer"])):
        said = ", ".join(
            f"{_argument(k)} {given[0].get(k, 'a tensor or nothing')} in A,"
            f" {given[1].get(k, 'a tensor or nothing')} in B"
            for k in keys
        )
        inside = f" in a {p['layer']}" if p["layer"] else ""
        text = f"{p['name']}{inside} is called with {said}."
        return found(f"{kind}-random" if is_random(p) else f"{kind}-argument", text)
    if f["shape"] != g["shape"] and kind == "forward":
        return found("forward-shape", f"Shape {f['shape']} in A, {g['shape']} in B.")
    if is_random(p):
        return found(f"{kind}-random", f"The first result that differs is that of {called(p)}.")
    if set(p["inputs"]) != set(q["inputs"]):
        if kind == "forward" and (apart := _later_input(p, q, events, number)):
            return apart
        text = f"The first result that differs is that of {called(p)}, which gets another tensor: "
        return found(f"{kind}-input", f"{text}one that is neither a weight nor of the batch.")
    scale = max(p["norm"], 1e-30) / math.sqrt(max(min(p["count"], 4096), 1))
    near = close(p["values"], q["values"], rounding_of(p["dtype"]) * scale * 4)
    reason = f"{p['name']} got the same tensors and settings, and gave them summed otherwise"
    around = _surroundings(a, b, f)
    text = f"{called(p)} gets the same tensors and settings on both sides and gives another result."
    return found(kind, text, None, f"{reason}{f' ({around})' if around else ''}" if near else "")


def _later_input(
    p: Operation, q: Operation, forwards: Sequence[Sequence[Forward]], number: int
) -> Finding | None:
    """The difference between the inputs of a later call of the model, if it is these that two calls
    of torch get. Those of the first call are compared before anything is computed."""
    apart = set(p["inputs"]) - set(q["inputs"]), set(q["inputs"]) - set(p["inputs"])
    for f, g in list(zip(*forwards, strict=False))[1:]:
        for left, right in zip(f["inputs"], g["inputs"], strict=False):
            if left.get("sum") in apart[0] and right.get("sum") in apart[1]:
                return next(inputs(left, right, number, where(f, g)), None)
    return None


def _meet(sides: Sequence[list[Operation]], p: Operation, q: Operation, whole: float) -> bool:
    """Whether two ways of calling come to the same but for rounding, where they meet again."""
    for change in changes(*sides):
        if any(c is p for c in change.ours) or any(c is q for c in change.theirs):
            after = whole if change.after is None else change.after
            return after <= max(rounding_of(c["dtype"]) for c in (p, q))
    return False


def _argument(key: str) -> str:
    return key if key.startswith("argument") else f"{key}="


def _surroundings(a: Run, b: Run, f: Print) -> str:
    """What takes sums in another order without a call that tells."""
    if a.threads != b.threads:
        return f"A runs on {a.threads} threads, B on {b.threads}"
    if a.start and b.start and a.start["torch"] != b.start["torch"]:
        return f"torch {a.start['torch']} in A, {b.start['torch']} in B"
    if f["device"].startswith("cuda"):
        return "kernels of the GPU add in no fixed order"
    return ""


def _print(operation: Operation) -> Print:
    """What is known of a result, as of a tensor."""
    return {
        "shape": [operation["count"]], "dtype": operation["dtype"], "device": "",
        "hash": str(operation["value"]), "norm": operation["norm"],
        "projections": [], "values": operation["values"],
    }  # fmt: skip


def outputs(
    x: Forward, y: Forward, a: Run, b: Run, number: int, loss: tuple[Loss, Loss] | None,
    drift: Drift,
) -> Iterator[Finding]:  # fmt: skip
    """What a model gave in an evaluation."""
    sides = tuple([p for p in v["operations"] if p["layer"] and p["value"]] for v in (x, y))
    if loss is not None:
        f, g = loss[0]["input"], loss[1]["input"]
    elif x["outputs"] and y["outputs"]:
        f, g = x["outputs"][0], y["outputs"][0]
    else:
        p, q = parted(sides[0], sides[1], *sides)
        if p is None or q is None or p["name"] != q["name"]:
            return  # what is counted of a batch is no output of the model
        f, g = _print(p), _print(q)
    if same(f, g):
        return
    if drift.size and f["shape"] == g["shape"]:
        yield from called_otherwise(sides, relative(f, g), number, drift, set(), "evaluation")  # type: ignore[arg-type]
        text = "What the model gave differs."
        yield Finding("evaluation", number, text, None, where(x, y), relative(f, g))
        return
    every = valued(x["operations"]), valued(y["operations"])
    found = _otherwise(a, b, sides, every, (f, g), number, "forward", [[x], [y]])
    found.cause = found.cause.replace("forward", "evaluation")
    yield found


def gradients(
    a: Run, b: Run, x: Backward, y: Backward, number: int, match: Matching, of: set[str] | None
) -> Iterator[Finding]:
    """
    Args:
        of: the parameters that are updated with these gradients, by A's names; None for all.
    """
    lines = where(x, y)
    left = x["leftover"], match.renamed(y["leftover"])
    before = _norm(left[0], of), _norm(left[1], of)
    micro = x["micro"]
    if (before[0] == 0) != (before[1] == 0):
        if micro == 0:
            who = "A" if before[0] else "B"
            text = f"When backward() began, {who} still held gradients of the step before (norm"
            text += f" {max(before):.4g}); the other held none."
            yield Finding("zero_grad-forgotten", number, text, who, lines)
        else:
            who = "A" if not before[0] else "B"
            text = f"When backward pass {micro + 1} of the step began, the gradients of the ones"
            yield Finding(
                "zero_grad-in-window", number, f"{text} before were gone in {who}.", who, lines
            )
        return
    wrapped = [any(f["wrapped"] for f in v["forwards"]) for v in (x, y)]
    graph = _called(x, y) or _nodes(x, y)
    reason = graph or _surroundings(a, b, (x["loss"] or {"device": ""}))  # type: ignore[arg-type]
    mine, other = x["gradients"], match.renamed(y["gradients"])
    if of is not None:
        # Of a parameter that is not updated, only a new gradient on one side alone counts: it is
        # computed there for nothing.
        names = [{n for n, _ in side} for side in (mine, other)]
        new = [v - {n for n, _ in old} for v, old in zip(names, left, strict=True)]
        used = of | (new[0] - names[1]) | (new[1] - names[0])
        mine, other = ([(n, f) for n, f in side if n in used] for side in (mine, other))
    found = tensors(mine, other, number, "gradients", lines, reason, lowest(x["operations"]))
    if found is None:
        return
    if wrapped[0] != wrapped[1] and a.world == b.world > 1:
        found.cause, found.who = "gradients-unsynchronised", "A" if wrapped[1] else "B"
        found.reason, found.where = "", where(x["forwards"][-1], y["forwards"][-1])
    elif not found.reason and graph and found.cause == "gradients":
        found.text += f" {graph}."
    yield found


def _norm(norms: Sequence[tuple[str, float]], of: set[str] | None) -> float:
    return math.hypot(*(norm for name, norm in norms if of is None or name in of))


def _called(x: Backward, y: Backward) -> str:
    """The first calls that are not the same, which have gradients of their own."""
    for change in changes(graphs(x["operations"]), graphs(y["operations"])):
        if change.ours and change.theirs:
            return f"A calls {called(change.ours[0])} where B calls {called(change.theirs[0])}"
    return ""


def _nodes(x: Backward, y: Backward) -> str:
    """In what the graphs of autograd differ."""
    kinds = x["graph"].keys() | y["graph"].keys()
    kinds -= {"AccumulateGrad", "DivBackward0", "MulBackward0"}
    apart = [k for k in sorted(kinds) if x["graph"].get(k, 0) != y["graph"].get(k, 0)]
    if not apart:
        return ""
    k = apart[0]
    return f"The graph has {x['graph'].get(k, 0)} nodes of {k} in A, {y['graph'].get(k, 0)} in B"


def tensors(
    x: Named, y: Named, number: int, cause: str, lines: tuple, reason: str, dtype: str = "float32"
) -> Finding | None:
    """The first of several named tensors that differs. It is rounding only if there is a reason and
    each is as near as another order of terms makes it.

    Sizes are relative to all tensors together for gradients: one that is zero but for rounding is
    entirely rounding.
    """
    mine, other = dict(x), dict(y)
    if mine.keys() ^ other.keys():
        name = next(n for n in [*mine, *other] if (n in mine) != (n in other))
        who = "B" if name in mine else "A"
        there = "A" if who == "B" else "B"
        text = f"{name} has one in {there}, and none in {who}."
        return Finding(f"{cause}-missing", number, text, who, lines)
    apart = [(n, f, other[n]) for n, f in mine.items() if not same(f, other[n])]
    if not apart:
        return None
    whole = math.sqrt(sum(f["norm"] ** 2 for f in other.values())) or 1.0
    size = math.sqrt(sum(distance(f, g) ** 2 for _, f, g in apart)) / whole
    name, f, g = apart[0]
    factors = [c for _, p, q in apart if (c := ratio(p, q)) is not None]
    if len(factors) == len(apart) == len(x) and max(factors) / min(factors) - 1 < 1e-2:
        text = f"Those of A are those of B times {factors[0]:.5g}, all of them."
        return Finding(f"{cause}-scaled", number, text, None, lines, size)
    unit = max(rounding_of(dtype), rounding_of(f["dtype"]))
    if cause in ("gradients", "clipped"):
        far = apart if size > unit else []
    else:
        far = [(n, p, q) for n, p, q in apart if distance(p, q) > unit * max(p["norm"], q["norm"])]
    text = f"{len(apart)} of {len(x)} differ"
    if far and len(far) < len(apart):
        name, f, g = far[0]
        text += f", {len(far)} of them by more than rounding"
    text += f"; the first is {name} (norm {f['norm']:.6g} in A, {g['norm']:.6g} in B)."
    return Finding(cause, number, text, None, lines, size, "" if far else reason)
