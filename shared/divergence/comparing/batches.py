"""What a training step gets: its batch, the modes of its layers, the state of its generators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..fingerprints import Print, affine
from ..records import Backward, Forward, Loader, Operation, Run
from .finding import Finding, paired, relative, where

SENSITIVE = ("Dropout", "BatchNorm", "InstanceNorm", "AlphaDropout", "FeatureAlphaDropout")
# In what batches differ where the processes share the data out among them.
SHARED_OUT = ("batch-size", "batch-shuffle", "batch-values", "batch-repeated")


class Order:
    """Where in a run a batch was seen before."""

    def __init__(self, run: Run) -> None:
        self.seen: dict[tuple[int, ...], list[int]] = {}
        self.rows: set[int] = set()
        self.given: set[str] = set()  # what a model gave, which may be what the next call gets
        for number, step in enumerate(run.steps, 1):
            for backward in step.backwards:
                rows = _rows(backward)
                self.rows.update(rows)
                self.given |= {o["hash"] for f in backward["forwards"] for o in f["outputs"]}
                self.seen.setdefault(rows, []).append(number)

    def earlier(self, rows: tuple[int, ...], number: int) -> int | None:
        return next((n for n in self.seen.get(rows, ()) if n < number), None)


def _rows(backward: Backward) -> tuple[int, ...]:
    inputs = [i for forward in backward["forwards"][:1] for i in forward["inputs"][:1]]
    return tuple(row for i in inputs for row in i.get("rows", ()))


def batch(
    a: Run, b: Run, x: Backward, y: Backward, number: int, orders: tuple[Order, Order]
) -> Iterator[Finding]:
    if otherwise := _calls(x, y, number):
        yield otherwise
        return
    pairs = list(zip(x["forwards"], y["forwards"], strict=False))
    if len(x["forwards"]) != len(y["forwards"]):
        pairs = pairs[:1]
    # Calls without a graph come first: the data goes into them, or into the first with one.
    trained = next((i for i, (f, _) in enumerate(pairs) if "state" not in f), 0)
    for i, (f, g) in enumerate(pairs[: trained + 1]):
        for left, right in zip(f["inputs"], g["inputs"], strict=False):
            if _is_made(left, right, x, y, orders, is_first=not i):
                continue
            for found in inputs(left, right, number, where(f, g), orders, (x, y)):
                yield _explained(found, a, b, x, y, number)


def _calls(x: Backward, y: Backward, number: int) -> Finding | None:
    """Whether both programs give the model the same samples, but not in as many calls."""
    sides = [[f for f in v["forwards"] if "state" not in f] for v in (x, y)]
    counts = [len(side) for side in sides]
    if counts[0] == counts[1]:
        return None
    rows = [
        sorted(row for f in side for i in f["inputs"][:1] for row in i.get("rows", ()))
        for side in sides
    ]
    if not rows[0] or rows[0] != rows[1]:
        return None
    text = f"The model gets the same samples, in {counts[0]} calls in A, in {counts[1]} in B."
    return Finding("batch-calls", number, text, None, where(sides[0][0], sides[1][0]))


def _is_made(
    left: Print, right: Print, x: Backward, y: Backward, orders: tuple[Order, Order], is_first: bool
) -> bool:
    """Whether what goes into two calls is not of the data: a hidden state, what a generator made,
    or what frozen layers gave."""
    are_given = left["hash"] in orders[0].given, right["hash"] in orders[1].given
    if all(are_given) or (any(are_given) and len(x["forwards"]) != len(y["forwards"])):
        return True
    if not is_first:
        made = [{p["value"] for p in v["operations"]} - {0} for v in (x, y)]
        if left.get("sum") in made[0] or right.get("sum") in made[1]:
            return True
    # Where only one program builds a graph, its calls are in another order.
    if len({tuple("state" in f for f in v["forwards"]) for v in (x, y)}) == 1:
        return False
    went_in = [{t["hash"] for f in v["forwards"] for t in f["inputs"]} for v in (x, y)]
    return left["hash"] in went_in[1] or right["hash"] in went_in[0]


def targets(
    x: Backward, y: Backward, number: int, orders: tuple[Order, Order]
) -> Iterator[Finding]:
    """What the losses were computed against. A model may have given it, and so it comes last."""
    for i, (p, q) in enumerate(paired(x["losses"], y["losses"])):
        if p["target"] and q["target"]:
            for found in inputs(p["target"], q["target"], number, where(p, q), orders, (x, y)):
                if i and found.cause not in ("batch-size", "batch-shape", "batch-dtype"):
                    continue  # it may have been computed, from what another model gave
                found.text = f"The target of the loss. {found.text}"
                if found.cause in ("batch-values", "batch-normalised"):
                    found.cause = "batch-target"
                yield found


def share(a: Run, b: Run, x: Backward, y: Backward) -> str:
    """Who has but its share of the other's batch, as one of several processes; empty if neither."""
    mine, other = _rows(x), _rows(y)
    for who, part, whole, run, one in (("A", mine, other, a, b), ("B", other, mine, b, a)):
        is_shared = len(part) * run.world == len(whole) and set(part) <= set(whole)
        if run.world > 1 and one.world == 1 and part and is_shared:
            return who
    return ""


def _explained(f: Finding, a: Run, b: Run, x: Backward, y: Backward, number: int) -> Finding:
    """With what is seen beside a batch that differs: processes, generators, calls before it."""
    if a.world != b.world and f.cause in SHARED_OUT:
        f.cause = "batch-world"
        f.who = None
        f.text += f" A runs in {a.world} process{'es' * (a.world > 1)}, B in {b.world}."
        return f
    if f.cause == "batch-repeated" and f.who:
        run = a if f.who == "A" else b
        other = b if f.who == "A" else a
        again, there = ([s for s in v.seeds if 0 < s["step"] < number] for v in (run, other))
        if len(again) > len(there):
            f.text += f" {f.who} seeds again before it (torch.manual_seed({again[-1]['value']}))."
            seed = again[-1]["where"] or f.where["AB".index(f.who)]
            f.where = (seed, f.where[1]) if f.who == "A" else (f.where[0], seed)
            f.cause, f.who = "generator-seed", None
        return f
    if f.cause in ("batch-values", "batch-normalised", "batch-dtype"):
        apart = _other_call(x["early"], y["early"])
        if apart:
            p, q = apart
            f.text += f" {p['name']} gets {_arguments(p)} in A, {_arguments(q)} in B."
            f.where = where(p, q)
            return f
    if f.cause in ("batch-values", "batch-shuffle", "batch-order"):
        sides = _iterators(a, number), _iterators(b, number)
        if all(sides) and (
            _by_sampler(f, sides[0][-1], sides[1][-1]) or _by_own_generator(f, a, b, number, sides)
        ):
            return f
        unseeded = _unseeded(a, b, x, y)
        if unseeded:
            f.cause, f.text = "generator-unseeded", f"{f.text} {unseeded}"
            f.is_silent = False
    return f


def _iterators(run: Run, number: int) -> list[Loader]:
    """The iterators that gave a run its training batches before a step: those over the loader that
    the first step got its batch from, or over another like it."""

    def kind(made: Loader) -> tuple[int | None, int | None, str]:
        return made["size"], made["batch_size"], made["sampler"]

    first = [v for v in run.loaders if v["step"] == 0]
    return [v for v in run.loaders if v["step"] < number and first and kind(v) == kind(first[-1])]


def _by_sampler(f: Finding, p: Loader, q: Loader) -> bool:
    """Whether the samplers of the two sides are not alike: say in what, if so."""
    kinds = p["sampler"], q["sampler"]
    mine, other = p["settings"], q["settings"]
    apart = [name for name in sorted(mine.keys() & other.keys()) if mine[name] != other[name]]
    if "seed" in apart:
        text = f"The seed of A's {kinds[0]} is {mine['seed']}, that of B's {kinds[1]} "
        text += f"{other['seed']}."
    elif kinds[0] != kinds[1]:
        text = f"The order is given by a {kinds[0]} in A, by a {kinds[1]} in B."
    elif apart:
        text = f"{kinds[0]}.{apart[0]} is {mine[apart[0]]} in A, {other[apart[0]]} in B."
    else:
        return False
    f.cause, f.where = "batch-sampler", where(p, q)
    f.text += f" {text}"
    return True


def _by_own_generator(
    f: Finding, a: Run, b: Run, number: int, sides: tuple[list[Loader], list[Loader]]
) -> bool:
    """Whether both loaders have generators of their own, in other states: say why, if so."""
    p, q = sides[0][-1], sides[1][-1]
    if None in (p["own"], q["own"]) or p["own"] == q["own"]:
        return False
    loaders = [{v["number"] for v in side} for side in sides]
    ended = [
        sum(v["number"] in numbers and v["step"] < number for v in run.exhausted)
        for run, numbers in zip((a, b), loaders, strict=True)
    ]
    if sides[0][0]["own"] != sides[1][0]["own"]:
        why = "It is in another state from the start."
    elif len(sides[0]) != len(sides[1]):
        made = [_times(len(side)) for side in sides]
        why = f"A has made an iterator over the loader {made[0]}, B {made[1]}."
    elif ended[0] != ended[1]:
        why = f"A has asked the loader {_times(ended[0])} for a batch beyond its last, "
        why += f"B {_times(ended[1])}."
    else:
        why = "Something else has drawn from it."
    f.cause, f.where = "batch-generator", where(p, q)
    f.text += f" The loader's own generator gives the order. {why}"
    return True


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _unseeded(a: Run, b: Run, x: Backward, y: Backward) -> str:
    """A generator that is drawn from, is never seeded, and differs."""
    for name, said in (("numpy", "numpy.random"), ("random", "random")):
        states = [v["forwards"][0]["rng"].get(name) if v["forwards"] else None for v in (x, y)]
        starts = [(run.start or {"rng": {}})["rng"].get(name) for run in (a, b)]
        seeded = [any(s["of"] == name for s in run.seeds) for run in (a, b)]
        if states[0] == states[1] or states == starts or states[0] == starts[0]:
            continue
        for who, is_seeded in zip("AB", seeded, strict=True):
            if not is_seeded:
                who = "Neither program" if not any(seeded) else who
                return f"{who} seeds {said}, which was drawn from before it."
    for run in (a, b):
        if run.end and run.end["unseeded"]:
            _, line, _ = run.end["unseeded"][0]
            return f"Line {line} makes a generator of numpy without a seed."
    return ""


def _other_call(x: list[Operation], y: list[Operation]) -> tuple[Operation, Operation] | None:
    if [p["name"] for p in x] != [q["name"] for q in y]:
        return None
    return next(((p, q) for p, q in zip(x, y, strict=True) if p["given"] != q["given"]), None)


def _arguments(operation: Operation) -> str:
    return ", ".join(operation["given"].values())


def inputs(
    f: Print,
    g: Print,
    number: int,
    place: tuple,
    orders: tuple[Order, Order] | None = None,
    backwards: tuple[Backward, Backward] | None = None,
) -> Iterator[Finding]:
    """One tensor that went in, on both sides."""

    def found(cause: str, text: str, who: str | None = None, size: float | None = None) -> Finding:
        return Finding(cause, number, text, who, place, size)

    types = [p["device"].split(":")[0] for p in (f, g)]
    mine, other = f.get("rows", []), g.get("rows", [])
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
    elif mine and sorted(mine) == sorted(other):
        yield found("batch-order", "The same samples, in another order within the batch.")
    else:
        # Labels of one batch may well be those of another; rows of tokens are as good as unique.
        is_told = "float" in f["dtype"] or len(f["shape"]) > 1
        if orders and backwards and is_told:
            again = [o.earlier(_rows(v), number) for o, v in zip(orders, backwards, strict=True)]
            if (again[0] is None) != (again[1] is None):
                who, first = ("A", again[0]) if again[0] else ("B", again[1])
                text = f"In {who} it is the batch of step {first} again."
                yield found("batch-repeated", text, who)
                return
            here = set(mine) & set(other)  # what both batches have says nothing of their order
            common = sum(row in orders[1].rows for row in mine if row not in here)
            back = sum(row in orders[0].rows for row in other if row not in here)
            if max(common, back) > max(len(mine) // 20, 0):
                yield found("batch-shuffle", "Samples that the other run has in another batch.")
                return
        line, size = affine(f, g), relative(f, g)
        if line is not None and "float" in f["dtype"]:
            text = f"The values of A are those of B times {line[0]:.4g} plus {line[1]:.4g}."
            yield found("batch-normalised", text, None, size)
        else:
            text = f"Norm {f['norm']:.6g} in A, {g['norm']:.6g} in B."
            yield found("batch-values", text, None, size)


def modes(x: list[Forward], y: list[Forward], number: int, cause: str) -> Iterator[Finding]:
    leaves = [[leaf for f in v for leaf in f["leaves"]] for v in (x, y)]
    if [leaf["type"] for leaf in leaves[0]] != [leaf["type"] for leaf in leaves[1]]:
        leaves = [[v for v in side if v["type"].startswith(SENSITIVE)] for side in leaves]
        if len(leaves[0]) != len(leaves[1]):
            return
    apart = [
        (p, q) for p, q in zip(*leaves, strict=True)
        if p["training"] != q["training"] and p["type"].startswith(SENSITIVE)
    ]  # fmt: skip
    counts = [Counter((v["type"], v["training"]) for v in side) for side in leaves]
    if not apart or counts[0] == counts[1]:
        return  # all alike, or called in another order
    who = "A" if apart[0][0]["training"] == (cause != "mode") else "B"
    mine = leaves[0 if who == "A" else 1]
    leaf = apart[0][0 if who == "A" else 1]
    mode = "eval" if cause == "mode" else "training"
    count = sum(v["training"] == leaf["training"] for v in mine)
    text = f"In {who}, {count} of {len(mine)} layers are in {mode} mode"
    text += f" ({leaf['name']}, a {leaf['type']}, is one)."
    if cause == "mode" and count < len(mine):
        # Some layers are kept in eval mode on purpose: nobody can say which side is right.
        yield Finding("mode-some", number, text, None, where(x[0], y[0]))
    else:
        yield Finding(cause, number, text, who, where(x[0], y[0]))


def frozen(x: list[Forward], y: list[Forward], number: int) -> Iterator[Finding]:
    """Weights of what is called without a graph, such as a teacher."""
    sides = [[f for f in v if f.get("state")] for v in (x, y)]
    for f, g in zip(*sides, strict=False):
        hashes = [sorted(h for _, h, _ in v["state"]) for v in (f, g)]
        if hashes[0] == hashes[1] or len(hashes[0]) != len(hashes[1]):
            continue
        apart = [p[0] for p, q in zip(f["state"], g["state"], strict=True) if p[1] != q[1]]
        text = f"{f['module']} is called without gradients; {len(apart)} of its {len(hashes[0])}"
        text += f" tensors differ, {apart[0]} first." if apart else " tensors differ."
        yield Finding("frozen-weights", number, text, None, where(f, g))


def generator(a: Run, b: Run, x: Backward, y: Backward, number: int) -> Iterator[Finding]:
    """A generator in another state. Nothing comes of it until something is drawn."""
    states = [[f["rng"] for f in v["forwards"]][:1] for v in (x, y)]
    if not all(states):
        return
    mine, other = states[0][0], states[1][0]
    drawn = [k for k in ("torch", "cuda", "mps") if mine.get(k) != other.get(k)]
    if not drawn:
        return
    since = 0
    for i, (p, q) in enumerate(zip(a.steps[: number - 1], b.steps, strict=False), 1):
        before = [[f["rng"]["torch"] for v in s.backwards for f in v["forwards"]] for s in (p, q)]
        if before[0] == before[1]:
            since = i
    seeds = [
        [s for s in run.seeds if since <= s["step"] < number and s["of"] == "torch"]
        for run in (a, b)
    ]
    loaders = [
        [v for v in run.loaders if since <= v["step"] < number and v["drew"]] for run in (a, b)
    ]
    place = where(x["forwards"][0], y["forwards"][0])

    def found(cause: str, text: str, who: str | None = None, lines: tuple = place) -> Finding:
        return Finding(cause, number, text, who, lines, is_silent=True)

    values = [[s["value"] for s in side] for side in seeds]
    if values[0] != values[1]:
        if len(values[0]) != len(values[1]):
            who = "A" if len(values[0]) < len(values[1]) else "B"
            event = seeds[1 if who == "A" else 0][-1]
            other_ = "B" if who == "A" else "A"
            text = (
                f"{other_} calls torch.manual_seed({event['value']}) before this step, {who} does"
            )
            lines = where(event if other_ == "A" else x, event if other_ == "B" else y)
            yield found("generator-seed", f"{text} not.", who, lines)
        else:
            text = f"Seeded with {values[0][-1]} in A, with {values[1][-1]} in B."
            yield found("generator-seed", text, None, where(seeds[0][-1], seeds[1][-1]))
        return
    if len(loaders[0]) != len(loaders[1]):
        who = "A" if len(loaders[0]) > len(loaders[1]) else "B"
        events, fewer = loaders if who == "A" else loaders[::-1]
        known = [e["size"] for e in fewer]
        loader = next((e for e in reversed(events) if e["size"] not in known), events[-1])
        text = f"{who} drew from it when an iterator over a DataLoader of {loader['size']} samples"
        lines = (loader["where"], place[1]) if who == "A" else (place[0], loader["where"])
        yield found("generator-loader", f"{text} was made.", who, lines)
    else:
        text = f"The state of {' and '.join(drawn)} differs before the forward pass."
        yield found("generator", text)
