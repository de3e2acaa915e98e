"""What a step computes: outputs, loss and gradients, led back to the call of torch where the two
programs part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..fingerprints import Print, close, distance, ratio, same
from ..records import Backward, Forward, Loss, Named, Operation, Run
from .finding import TERMS, Finding, called, epsilon, lowest, relative, where
from .matching import Matching

RANDOM = (
    "dropout", "alpha_dropout", "feature_", "native_dropout", "rand", "bernoulli", "normal",
    "multinomial", "rrelu", "gumbel",
)  # fmt: skip
LOWER = {"float16", "bfloat16"}


def is_random(operation: Operation) -> bool:
    return operation["name"].startswith(RANDOM)


Pair = tuple[Operation | None, Operation | None]


def parted(x: list[Operation], y: list[Operation]) -> Pair:
    """On each side the first call whose result the other side has nowhere."""
    values = [{p["value"] for p in side} for side in (x, y)]
    first = next((p for p in x if p["value"] not in values[1]), None)
    return first, next((q for q in y if q["value"] not in values[0]), None)


def graphs(side: list[Operation]) -> list[Operation]:
    return [p for p in side if p["graph"] and p["value"]]


def computed(
    a: Run, b: Run, x: Backward, y: Backward, number: int, window: int
) -> Iterator[Finding]:
    f, g = x["loss"], y["loss"]
    scores = _scores(x, y)
    outputs_differ = scores is not None and not same(*scores)
    if f and g and same(f, g):
        return
    apart = parted(graphs(x["operations"]), graphs(y["operations"]))
    if outputs_differ and scores is not None:
        within = [[p for p in graphs(v["operations"]) if p["layer"]] for v in (x, y)]
        apart = parted(*within)
        yield _computed_otherwise(a, b, apart, scores, number, "forward", x, y)
        return
    if not f or not g:
        return
    if special := _special(x, y, f, g, number, window):
        yield special
        return
    yield _computed_otherwise(a, b, apart, (f, g), number, "loss", x, y)


def _scores(x: Backward, y: Backward) -> tuple[Print, Print] | None:
    """What the model gave: what the loss was computed from where both called a loss, as a module
    may return its loss; else the first tensor that its call returned."""
    calls = x["losses"], y["losses"]
    if all(calls) and len(calls[0]) == len(calls[1]):
        last = calls[0][-1], calls[1][-1]
        if last[0]["probabilities"] != last[1]["probabilities"]:
            return None  # a softmax between, of which the loss speaks
        for p, q in zip(*calls, strict=True):
            if not same(p["input"], q["input"]):
                return p["input"], q["input"]
        return last[0]["input"], last[1]["input"]
    forwards = x["forwards"], y["forwards"]
    if len(forwards[0]) != len(forwards[1]) or not all(forwards):
        return None
    outputs = forwards[0][-1]["outputs"], forwards[1][-1]["outputs"]
    return (outputs[0][0], outputs[1][0]) if all(outputs) else None


def _special(
    x: Backward, y: Backward, f: Print, g: Print, number: int, window: int
) -> Finding | None:
    """What a loss that differs says of itself, with equal outputs of the model."""
    values = f"{f['values'][0]:.7g} in A, {g['values'][0]:.7g} in B"
    for p, q in zip(x["losses"], y["losses"], strict=False):
        lines = where(p, q)
        if p["probabilities"] != q["probabilities"]:
            who = "A" if p["probabilities"] else "B"
            text = f"{who} gives {p['name']} probabilities, not logits. Loss: {values}."
            return Finding("loss-softmax", number, text, who, lines)
        keys = [k for k in p["given"] if p["given"][k] != q["given"].get(k)]
        if p["name"] == q["name"] and keys == ["reduction"]:
            kinds = p["given"]["reduction"], q["given"]["reduction"]
            summed = "A" if kinds[0] == "'sum'" else "B" if kinds[1] == "'sum'" else None
            text = f"Reduction {kinds[0]} in A, {kinds[1]} in B. Loss: {values}."
            cause = "loss-reduction" if summed else "loss-function"
            return Finding(cause, number, text, summed, lines)
        if p["name"] != q["name"] or keys:
            text = f"{_loss(p, keys)} in A, {_loss(q, keys)} in B. Loss: {values}."
            if not relative(f, g) <= TERMS * epsilon(f["dtype"]):
                return Finding("loss-function", number, text, None, lines)
    if len(f["values"]) != 1 or len(g["values"]) != 1:
        return None
    factor = f["values"][0] / g["values"][0] if g["values"][0] else math.inf
    batch = max([p["batch"] for p in x["losses"] + y["losses"]], default=0)
    for count, cause in ((window, "loss-not-divided"), (batch, "loss-reduction")):
        for who, times in (("A", factor), ("B", 1 / factor if factor else math.inf)):
            if count > 1 and abs(times / count - 1) < 1e-5:
                text = f"The loss of {who} is {count} times the other's: {values}."
                return Finding(cause, number, text, who, where(x, y))
    return None


def _loss(loss: Loss, keys: list[str]) -> str:
    options = ", ".join(f"{k}={loss['given'].get(k)}" for k in keys)
    return f"{loss['name']}({options})"


def _computed_otherwise(
    a: Run, b: Run, apart: Pair, prints: tuple[Print, Print], number: int, kind: str,
    x: Backward, y: Backward,
) -> Finding:  # fmt: skip
    p, q = apart
    f, g = prints
    last: list[Any] = []
    for event in (x, y):
        calls: list[Any] = (
            [event, *event["losses"]] if kind == "loss" else [None, *event["forwards"]]
        )
        last.append(calls[-1])
    lines = where(p or last[0], q or last[1])
    size = relative(f, g) if f["shape"] == g["shape"] else math.inf
    shown = ""
    if f["values"] and g["values"] and kind == "loss":
        shown = f" Loss: {f['values'][0]:.7g} in A, {g['values'][0]:.7g} in B."

    def found(cause: str, text: str, who: str | None = None, reason: str = "") -> Finding:
        return Finding(cause, number, text + shown, who, lines, size, reason)

    small = size <= TERMS * epsilon(lowest(x["operations"] + y["operations"]))
    if p is None and q is None:
        compiled = [bool(run.end and run.end["compiled"]) for run in (a, b)]
        reason = _surroundings(a, b, f)
        if any(compiled):
            reason = "compiled code may take sums in another order"
        text = (
            "Inside compiled code nothing is seen." if any(compiled) else "The call is not known."
        )
        cause = f"{kind}-shape" if f["shape"] != g["shape"] and kind == "forward" else kind
        return found(cause, text, reason=reason if small else "")
    if p is None or q is None:
        who, more = ("B", q) if p is None else ("A", p)
        assert more is not None
        text = f"{who} calls {called(more)}, whose result the other has nowhere; all that the other"
        return found(f"{kind}-more", f"{text} computes is in {who} too.")
    if p["dtype"] != q["dtype"]:
        full = "A" if q["dtype"] in LOWER else "B" if p["dtype"] in LOWER else None
        text = f"The first result that differs is that of {called(p)}: {p['dtype']} in A,"
        return found(f"{kind}-autocast", f"{text} {q['dtype']} in B.", full)
    if p["name"] != q["name"]:
        text = f"A calls {called(p)} where B calls {called(q)}."
        reason = f"A calls {p['name']} where B calls {q['name']}" if small else ""
        if f["shape"] != g["shape"] and kind == "forward":
            return found("forward-shape", f"Shape {f['shape']} in A, {g['shape']} in B. {text}")
        return found(f"{kind}-call" if not is_random(p) else f"{kind}-random", text, None, reason)
    keys = [k for k in p["given"] if p["given"][k] != q["given"].get(k)]
    if (keys and p["layer"] == q["layer"]) or (keys and not (p["layer"] and q["layer"])):
        said = ", ".join(
            f"{_argument(k)} {p['given'][k]} in A, {q['given'].get(k)} in B" for k in keys
        )
        inside = f" in a {p['layer']}" if p["layer"] else ""
        text = f"{p['name']}{inside} is called with {said}."
        return found(f"{kind}-random" if is_random(p) else f"{kind}-argument", text)
    if f["shape"] != g["shape"] and kind == "forward":
        return found("forward-shape", f"Shape {f['shape']} in A, {g['shape']} in B.")
    if is_random(p):
        return found(f"{kind}-random", f"The first result that differs is that of {called(p)}.")
    if set(p["inputs"]) != set(q["inputs"]):
        text = f"The first result that differs is that of {called(p)}, which gets another tensor: "
        return found(f"{kind}-input", f"{text}one that is neither a weight nor of the batch.")
    scale = max(p["norm"], 1e-30) / math.sqrt(max(min(p["count"], 4096), 1))
    near = close(p["values"], q["values"], TERMS * epsilon(p["dtype"]) * scale * 4)
    reason = f"{p['name']} got the same tensors and settings, and gave them summed otherwise"
    around = _surroundings(a, b, f)
    text = f"{called(p)} gets the same tensors and settings on both sides and gives another result."
    return found(kind, text, None, f"{reason}{f' ({around})' if around else ''}" if near else "")


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
    x: Forward, y: Forward, a: Run, b: Run, number: int, loss: tuple[Loss, Loss] | None
) -> Iterator[Finding]:
    """What a model gave in an evaluation."""
    sides = [[p for p in v["operations"] if p["layer"] and p["value"]] for v in (x, y)]
    if loss is not None:
        f, g = loss[0]["input"], loss[1]["input"]
    elif x["outputs"] and y["outputs"]:
        f, g = x["outputs"][0], y["outputs"][0]
    else:
        p, q = parted(*sides)
        if p is None or q is None or p["name"] != q["name"]:
            return  # what is counted of a batch is no output of the model
        f, g = _print(p), _print(q)
    if same(f, g):
        return
    empty = {"operations": sides[0], "forwards": [x]}, {"operations": sides[1], "forwards": [y]}
    found = _computed_otherwise(a, b, parted(*sides), (f, g), number, "forward", *empty)  # type: ignore[arg-type]
    found.cause = found.cause.replace("forward", "evaluation")
    yield found


def gradients(
    a: Run, b: Run, x: Backward, y: Backward, number: int, match: Matching
) -> Iterator[Finding]:
    lines = where(x, y)
    before = x["leftover"], y["leftover"]
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
    graph = _nodes(x, y)
    reason = graph or _surroundings(a, b, (x["loss"] or {"device": ""}))  # type: ignore[arg-type]
    found = tensors(x["gradients"], match.renamed(y["gradients"]), number, "gradients", lines,
                    reason, lowest(x["operations"]))  # fmt: skip
    if found is None:
        return
    if wrapped[0] != wrapped[1] and a.world > 1:
        found.cause, found.who = "gradients-unsynchronised", "A" if wrapped[1] else "B"
        found.reason, found.where = "", where(x["forwards"][0], y["forwards"][0])
    elif not found.reason and graph and found.cause == "gradients":
        found.text += f" {graph}."
    yield found


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
    text = f"{len(apart)} of {len(x)} differ; the first is {name} (norm {f['norm']:.6g} in A,"
    text += f" {g['norm']:.6g} in B)."
    unit = TERMS * max(epsilon(dtype), epsilon(f["dtype"]))
    if cause in ("gradients", "clipped"):
        near = size <= unit
    else:
        near = all(distance(p, q) <= unit * max(p["norm"], q["norm"]) for _, p, q in apart)
    return Finding(cause, number, text, None, lines, size, reason if near else "")
