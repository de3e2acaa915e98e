"""A run that goes on from where another one was: what it did not take over."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from ..records import Run, Taken
from .finding import Finding, where


class Resumed(NamedTuple):
    """`who` goes on from step `number` of the other run."""

    who: str
    number: int

    @property
    def text(self) -> str:
        other = "B" if self.who == "A" else "A"
        return f"{self.who} begins with the weights of step {self.number} of {other}: it goes on"


def resumed(a: Run, b: Run) -> Resumed | None:
    """Whether one run begins with the weights that the other has after a step."""
    for whole, part, who in ((a, b, "B"), (b, a, "A")):
        begins = {f["hash"] for m in part.models[:1] for _, f in m["parameters"]}
        starts = {f["hash"] for m in whole.models[:1] for _, f in m["parameters"]}
        if not begins or begins == starts:
            continue
        for number in range(1, len(whole.steps)):
            taken = whole.steps[number - 1].taken
            if taken and begins == {f["hash"] for _, f in taken["weights"]}:
                return Resumed(who, number)
    return None


def not_restored(whole: Run, part: Run, resume: Resumed) -> Finding | None:
    """The first thing that the two do not have in common at the first resumed step."""
    number, who = resume.number, resume.who
    last, then, first = whole.steps[number - 1].taken, whole.steps[number], part.steps[0]
    lines = where(first.taken, then.taken) if who == "A" else where(then.taken, first.taken)

    def found(cause: str, more: str) -> Finding:
        return Finding(cause, number + 1, f"{resume.text} from there. {more}", who, lines)

    if then.taken and first.taken and last:
        missing = _state(last, first.taken)
        if missing:
            return found("resumed-optimizer", missing)
        rates = [
            v["groups"][0].get("lr") if v["groups"] else None for v in (then.taken, first.taken)
        ]
        if rates[0] != rates[1]:
            more = f"The learning rate would be {rates[0]}, and is {rates[1]}."
            return found("resumed-schedule", more)
    for x, y in zip(then.backwards, first.backwards, strict=False):
        rows = [[i["hash"] for f in v["forwards"] for i in f["inputs"]] for v in (x, y)]
        if rows[0] != rows[1]:
            begun = whole.steps[0].backwards[:1]
            again = [[i["hash"] for f in v["forwards"] for i in f["inputs"]] for v in begun]
            more = "Its first batch is another than the other's next"
            more += ", and that of step 1 again." if rows[1] in again else "."
            return found("resumed-order", more)
        states = [[f["rng"]["torch"] for f in v["forwards"]] for v in (x, y)]
        if states[0] != states[1] and x["loss"] != y["loss"]:
            return found("resumed-generator", "The state of the generator is another.")
    scales = [[e for e in s.scaling if e["kind"] == "unscale"] for s in (then, first)]
    if all(scales) and scales[0][0]["scale"] != scales[1][0]["scale"]:  # type: ignore[typeddict-item]
        return found("resumed-scaler", "The scale of the loss is another.")
    return None


def _state(last: Taken, first: Taken) -> str:
    began = first["began"] or {}
    kept = {k: v for k, v in last["momenta"].items() if v}
    for key, value in kept.items():
        if began.get(key) != value:
            there = f"norm {began[key]:.4g}" if key in began else "missing"
            return f"The optimizer's {key} had a norm of {value:.4g}, and is {there}."
    return ""


def after(run: Run, number: int) -> Run:
    """A run from one of its steps on, whose first step is then the one after that."""

    def shifted(events: list[Any]) -> list[Any]:
        return [{**e, "step": e["step"] - number} for e in events if e["step"] >= number]

    def later(table: dict[int, Any]) -> dict[int, Any]:
        return {step - number: events for step, events in table.items() if step > number}

    return dataclasses.replace(
        run,
        steps=run.steps[number:],
        seeds=shifted(run.seeds),
        loaders=shifted(run.loaders),
        exhausted=shifted(run.exhausted),
        loads=shifted(run.loads),
        changed=later(run.changed),
        touched=later(run.touched),
        evaluations=later(run.evaluations),
        eval_losses=later(run.eval_losses),
        numbers=later(run.numbers),
        metrics=later(run.metrics),
        saves=later(run.saves),
    )


def restored_in_part(found: Finding, resume: Resumed) -> Finding:
    """A later difference of a run that goes on, by its step in the whole run."""
    cause = "resumed-schedule" if found.cause.startswith("schedule") else found.cause
    text = f"{resume.text} from there. {found.text}"
    who = resume.who if cause.startswith("resumed") else found.who
    return dataclasses.replace(
        found, cause=cause, text=text, who=who, step=found.step + resume.number
    )
