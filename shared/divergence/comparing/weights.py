"""What training begins with: weights and buffers, settings of layers, hooks."""

from __future__ import annotations

from collections.abc import Iterator

from ..fingerprints import same
from ..records import Model, Run
from .finding import Finding, relative, where
from .matching import Matching, frozen_calls, once


def initial(a: Run, b: Run, match: Matching) -> Iterator[Finding]:
    if not a.models or not b.models:
        return
    made = where(a.built, b.built)
    if reached := _reached(a, b, match):
        yield reached
    if any(name not in match.untrained for side in match.only for name in side):
        yield _missing(a, b, match, made)
        return
    for kind in ("parameters", "buffers"):
        mine = dict(once([m[kind] for m in a.models]))  # type: ignore[literal-required]
        other = dict(match.renamed(once([m[kind] for m in b.models])))  # type: ignore[literal-required]
        for name, f in mine.items():
            g = other.get(name)
            if g is None or same(f, g):
                continue
            what = f"The first of the {kind} that differs is {name}"
            if f["dtype"] != g["dtype"]:
                text = f"{what}: {f['dtype']} in A, {g['dtype']} in B."
                yield Finding("weights-dtype", 1, text, None, made)
                return
            cause, who, text = _seeding(a, b)
            what += f" (norm {f['norm']:.6g} in A, {g['norm']:.6g} in B). {text}"
            yield Finding(cause, 1, what.strip(), who, made, relative(f, g))
            return


def _missing(a: Run, b: Run, match: Matching, made: tuple) -> Finding:
    counts = [
        [sum(len(m[k]) for m in run.models) for k in ("parameters", "buffers")]  # type: ignore[literal-required]
        for run in (a, b)
    ]
    texts = []
    for i, kind in enumerate(("parameters", "buffers")):
        if counts[0][i] != counts[1][i]:
            texts.append(f"A has {counts[0][i]} {kind}, B has {counts[1][i]}.")
    for who, names in zip("AB", match.only, strict=True):
        if names:
            texts.append(f"Only in {who}: {', '.join(names[:3])}.")
    fewer = "A" if not match.only[0] else "B" if not match.only[1] else None
    held = [name for m in (a if fewer == "A" else b).models for name in m["loose"]]
    if fewer and held:
        texts.append(f"{fewer} keeps {', '.join(held[:3])} as a plain attribute.")
        return Finding("weights-missing", 1, " ".join(texts), fewer, made)
    shapes = " Tensors of these names have other shapes on the other side." if not fewer else ""
    return Finding("weights-other", 1, " ".join(texts) + shapes, None, made)


def _reached(a: Run, b: Run, match: Matching) -> Finding | None:
    """Whether gradients reach a model that the other program calls without any."""
    for who, only, run, other in (("A", match.only[0], a, b), ("B", match.only[1], b, a)):
        for model in run.models:
            names = [n for n, _ in model["parameters"]]
            hashes = {f["hash"] for _, f in model["parameters"]}
            calls = [f for f in frozen_calls(other) if hashes <= {h for _, h, _ in f["state"]}]
            if names and set(names) <= set(only) and calls:
                text = f"{who}'s backward pass goes on through a {model['module']}, which the "
                text += "other calls without gradients."
                lines = (model["where"], calls[0]["where"])
                return Finding(
                    "gradients-further", 1, text, who, lines if who == "A" else lines[::-1]
                )
    return None


def _seeding(a: Run, b: Run) -> tuple[str, str | None, str]:
    """Why initial weights differ, as far as the calls of torch.manual_seed tell."""
    loads = [[v for v in run.loads if not v["step"] and v["of"] == "weights"] for run in (a, b)]
    if bool(loads[0]) != bool(loads[1]):
        who, there = ("A", loads[0]) if loads[0] else ("B", loads[1])
        made = there[0]["where"]
        text = f"{who} loads weights before its first step{f' (line {made[0][1]})' if made else ''}"
        return "weights-loaded", None, f"{text}, the other does not."
    seeds = [[s for s in run.seeds if s["of"] == "torch"] for run in (a, b)]
    before = [[s for s in side if not s["built"]] for side in seeds]
    for who, mine, every, other in (
        ("A", before[0], seeds[0], before[1]),
        ("B", before[1], seeds[1], before[0]),
    ):
        if not mine and other:
            if every:
                place = every[0]["where"]
                line = f" (line {place[0][1]})" if place else ""
                return "weights-seed-late", who, f"{who} seeds after its model was made{line}."
            return "weights-unseeded", who, f"{who} never calls torch.manual_seed."
    if not before[0] and not before[1]:
        return "weights-unseeded", None, "Neither seeds before its model is made."
    values = [side[-1]["value"] for side in before]
    if values[0] != values[1]:
        return "weights-seed", None, f"The seed is {values[0]} in A and {values[1]} in B."
    return "weights", None, ""


def settings(a: Run, b: Run, match: Matching) -> Iterator[Finding]:
    """Settings of layers and hooks. They are the cause of what differs after them."""
    made = where(a.built, b.built)
    mine, other = ([s for m in run.models for s in m["settings"]] for run in (a, b))
    leaves = [
        [s for s in side if "it says" in s[2] or not _is_parent(s, side)] for side in (mine, other)
    ]
    if [s[1] for s in leaves[0]] == [s[1] for s in leaves[1]]:
        for (name, kind, p, here), (_, _, q, there) in zip(*leaves, strict=True):
            apart = [k for k in sorted(p.keys() & q.keys()) if p[k] != q[k]]
            apart = [k for k in apart if k != "it says"] or apart
            if apart:
                said = ", ".join(f"{k} is {p[k]} in A, {q[k]} in B" for k in apart[:3])
                text = f"Of {name or 'the model'}, a {kind}: {said}."
                lines = (here or made[0], there or made[1])
                yield Finding("setting", 1, text, None, lines, is_silent=True)
    hooks = [[h for m in run.models for h in m["hooks"]] for run in (a, b)]
    kinds = [sorted(h[1] for h in side) for side in hooks]
    if kinds[0] != kinds[1]:
        who, side = ("A", hooks[0]) if len(hooks[0]) >= len(hooks[1]) else ("B", hooks[1])
        there = [h for h in side if kinds[0].count(h[1]) != kinds[1].count(h[1])]
        if there:
            text = f"{who} has a {there[0][1]} on {there[0][0]} that the other has not."
            yield Finding("hook", 1, text, None, made, is_silent=True)
    frozen = [
        [n for n in (_last(run)["frozen"] if run.models else []) if n not in only]
        for run, only in zip((a, b), match.only, strict=True)
    ]
    if len(frozen[0]) != len(frozen[1]):
        who, names = ("A", frozen[0]) if len(frozen[0]) > len(frozen[1]) else ("B", frozen[1])
        text = f"{len(frozen[0])} parameters are frozen in A, {len(frozen[1])} in B"
        text += f" ({names[0]} in {who})."
        yield Finding("frozen", 1, text, None, made, is_silent=True)


def _last(run: Run) -> Model:
    return run.models[-1]


def _is_parent(entry: tuple, side: list) -> bool:
    name = entry[0]
    return not name or any(other[0].startswith(f"{name}.") for other in side)
