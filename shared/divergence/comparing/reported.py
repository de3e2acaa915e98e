"""Numbers that were logged or printed, and the kinds of average that they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ..records import Metric, Number, Run, Where
from .calls import Drift
from .evaluation import note
from .finding import Finding, where

RATIOS = ("f1", "precision", "recall", "auc", "auroc", "jaccard", "iou")
TOLERANCE = 2e-5  # relative; averages are taken in other orders, and kept in float32


def plain_tag(tag: str) -> str:
    return re.sub(r"[^a-z0-9]", "", tag.lower())


def numbers(a: Run, b: Run, number: int, drift: Drift) -> Iterator[Finding]:
    mine, other = (by_tag(run.numbers.get(number, [])) for run in (a, b))
    found: list[Finding] = []
    # Where one run reports a quantity more often, there is no telling which belong together.
    for tag in [tag for tag in mine if len(mine[tag]) == len(other.get(tag, []))]:
        for p, q in zip(mine[tag], other[tag], strict=True):
            if not _apart(p, q):
                continue
            text = f"{p['tag'].strip()} is {p['value']:.7g} in A, {q['value']:.7g} in B."
            if _is_rate(p) and _is_rate(q):
                yield Finding("schedule", number, text, None, _schedules(a, b, number, p, q))
                continue
            cause, who, more = explained(a, b, number, p, q)
            size = abs(p["value"] - q["value"]) / max(abs(q["value"]), 1e-12)
            if cause is None and drift.size:
                # What was evaluated is apart already, and no kind of average tells them apart.
                cause = "reported"
            elif cause is None:
                is_ratio = any(word in tag for word in RATIOS)
                cause = "reported-ratio" if is_ratio else "reported"
                if is_ratio:
                    more = " No recorded average explains either."
            found.append(Finding(cause, number, text + more, who, where(p, q), size))
    # A number whose error is understood says more than the others.
    yield from sorted(found, key=lambda f: f.cause == "reported")


def _is_rate(event: Number) -> bool:
    """Whether it is the learning rate of an optimizer, by its name and by its value."""
    named = re.search(r"\blr\b|learning.?rate", event["tag"].lower().replace("_", " "))
    return bool(named) and any(
        math.isclose(event["value"], rate, rel_tol=0.01) for rate in event["rates"]
    )


def _schedules(a: Run, b: Run, number: int, p: Number, q: Number) -> tuple[Where, Where]:
    made = []
    for run, event in ((a, p), (b, q)):
        taken = run.steps[number - 1].taken if 0 < number <= len(run.steps) else None
        made.append((taken and taken["schedule"]) or event["where"])
    return made[0], made[1]


def _apart(p: Number, q: Number) -> bool:
    if p["value"] == q["value"] or (math.isnan(p["value"]) and math.isnan(q["value"])):
        return False
    shown = [v["digits"] for v in (p, q) if v["digits"] is not None]
    size = abs(p["value"] - q["value"])
    if shown and size <= 0.51 * 10 ** -min(shown) * (1 + len(shown) % 2):
        return False
    return size > TOLERANCE * max(abs(q["value"]), 1e-12)


def by_tag(events: list[Number]) -> dict[str, list[Number]]:
    """By name; of one that is both logged and printed, only what is logged."""
    found: dict[str, list[Number]] = {}
    for event in events:
        found.setdefault(plain_tag(event["tag"]), []).append(event)
    for tag, group in found.items():
        for source in ("writer", "log"):
            some = [e for e in group if e["source"] == source]
            if some:
                found[tag] = some
                break
    return found


def averages(run: Run, number: int) -> dict[str, float]:
    """What a mean of this evaluation may be, by what it is."""
    found: dict[str, float] = {}
    here = run.eval_losses.get(number, [])
    values = [(e["value"], e["batch"]) for e in here if e["value"] is not None]
    if values and all(e["given"].get("reduction", "'mean'") == "'mean'" for e in here):
        every = [e for n, v in run.eval_losses.items() if 0 < n <= number for e in v]
        _kinds(found, "losses", [(v, n) for v, n in values], every and [
            (e["value"], e["batch"]) for e in every if e["value"] is not None
        ])  # fmt: skip
    right = [r for e in run.evaluations.get(number, []) for r in e["right"]]
    if right:
        each = [(k / n, n) for k, n in right if n]
        every_right = [
            r for n, v in run.evaluations.items() if 0 < n <= number for e in v for r in e["right"]
        ]
        _kinds(found, "accuracies", each, [(k / n, n) for k, n in every_right if n])
        trained = [
            r
            for s in run.steps[:number]
            for v in s.backwards
            for f in v["forwards"][-1:]
            for r in f.get("right", [])
        ]
        if trained:
            found["over training and validation batches together"] = _mean(
                [(k / n, n) for k, n in (*trained, *every_right) if n]
            )
            found["over the training batches"] = _mean([(k / n, n) for k, n in trained if n])
    return found


def _kinds(found: dict[str, float], what: str, here: list, every: list) -> None:
    found[f"over all samples ({what})"] = _mean(here)
    found[f"the mean of the means of batches ({what})"] = sum(v for v, _ in here) / len(here)
    if len(every) > len(here):
        found[f"over all evaluations so far, never reset ({what})"] = _mean(every)


def _mean(values: list[tuple[float, int]]) -> float:
    return sum(v * n for v, n in values) / (sum(n for _, n in values) or 1)


def explained(
    a: Run, b: Run, number: int, p: Number, q: Number
) -> tuple[str | None, str | None, str]:
    """Which kind of average each of two reported numbers is, where the record tells."""
    kinds = []
    for run, event in ((a, p), (b, q)):
        # As many digits as were printed; of all that a number has, the last are rounding.
        shown = 10 ** -event["digits"] if event["digits"] is not None else 0.0
        allowed = max(shown, 1e-5 * abs(event["value"]))
        kinds.append(
            [k for k, v in averages(run, number).items() if abs(v - event["value"]) <= allowed]
        )
    counted = [_counted(run, number, event) for run, event in ((a, p), (b, q))]
    text = "".join(
        f" {who}'s is {side[0] if side else _said(metric)}."
        for who, side, metric in zip("AB", kinds, counted, strict=True)
        if side or metric
    )
    right = [any(k.startswith("over all samples") for k in side) for side in kinds]
    flaws = [_flaw(run, number, metric) for run, metric in zip((a, b), counted, strict=True)]
    for i, other in ((0, 1), (1, 0)):
        # The mean over classes explains a difference only from what is known to be another.
        if flaws[i] == "reported-average" and not (right[other] or counted[other]):
            flaws[i] = ""
    if flaws[0] != flaws[1]:
        who = "B" if not flaws[0] else "A" if not flaws[1] else None
        flaw = flaws[0] or flaws[1]
        # Neither kind of average is wrong by itself.
        return flaw, None if flaw == "reported-average" else who, text
    if right[0] == right[1]:
        return None, None, text
    who, wrong = ("B", kinds[1]) if right[0] else ("A", kinds[0])
    for start, cause in (
        ("the mean of the means", "evaluation-mean"),
        ("over all evaluations", "evaluation-reset"),
        ("over training and", "evaluation-shared"),
        ("over the training", "evaluation-shared"),
    ):
        if any(k.startswith(start) for k in wrong):
            return cause, who, text
    return None, None, text


def _counted(run: Run, number: int, event: Number) -> Metric | None:
    """The metric object that gave a reported number."""
    for metric in run.metrics.get(number, []):
        value = metric["value"]
        if value is not None and abs(value - event["value"]) <= 1e-5 * abs(value):
            return metric
    return None


def _said(metric: Metric | None) -> str:
    if metric is None:
        return "not known"
    kind = f" with average={metric['average']!r}" if metric["average"] else ""
    text = f"that of a {metric['name']}{kind}, updated since its last reset"
    return f"{text} {metric['training']} times in training, {metric['evaluation']} in evaluation"


def _flaw(run: Run, number: int, metric: Metric | None) -> str:
    """What a metric object counts otherwise than once over all samples of one evaluation."""
    if metric is None:
        return ""
    if metric["training"] and metric["evaluation"]:
        return "evaluation-shared"
    if metric["evaluation"] > len(run.evaluations.get(number, [])) > 0:
        return "evaluation-reset"
    return "reported-average" if metric["average"] in ("macro", "weighted") else ""


def unreported(a: Run, b: Run, notes: list[str]) -> Iterator[Finding]:
    """A quantity that only one run has reported, where both report others under the same names."""
    mine, other = (
        by_tag([e for v in run.numbers.values() for e in v if e["source"] != "print"])
        for run in (a, b)
    )
    if not mine.keys() & other.keys():
        _unmatched(a, b, notes)
        return
    for who, ours, theirs in (("A", mine, other), ("B", other, mine)):
        for tag in [tag for tag in theirs if tag not in ours]:
            if any(word in tag for word in ("loss", "acc", "f1")):
                event = theirs[tag][0]
                text = f"The other run reports {event['tag']} {len(theirs[tag])} times; {who} never"
                lines = ([], event["where"]) if who == "A" else (event["where"], [])
                yield Finding("reported-missing", event["step"], f"{text} does.", who, lines)


def _unmatched(a: Run, b: Run, notes: list[str]) -> None:
    """Both report numbers, none of them under one name: nothing was compared."""
    names = [list(dict.fromkeys(e["tag"].strip() for v in run.numbers.values() for e in v))
             for run in (a, b)]  # fmt: skip
    plain = [set(map(plain_tag, side)) for side in names]
    if all(names) and not plain[0] & plain[1]:
        said = [", ".join(side[:4]) for side in names]
        text = f"Reported numbers were not compared: A reports {said[0]}, B {said[1]}; give them"
        note(notes, f"{text} one name.")
