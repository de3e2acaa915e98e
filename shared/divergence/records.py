"""What a recorder wrote, put together step by step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass
class Step:
    """One optimizer step: the backward passes before it, clipping and unscaling in their order, and
    the step itself, which is missing where the program ended first."""

    backwards: list[Event] = field(default_factory=list)
    scaling: list[Event] = field(default_factory=list)
    taken: Event | None = None


@dataclass
class Run:
    """Events by kind. Those after an optimizer step bear the number of steps taken by then."""

    steps: list[Step] = field(default_factory=list)
    models: list[Event] = field(default_factory=list)
    built: Event | None = None
    seeds: list[Event] = field(default_factory=list)
    loaders: list[Event] = field(default_factory=list)
    evaluations: dict[int, list[Event]] = field(default_factory=dict)
    eval_losses: dict[int, list[Event]] = field(default_factory=dict)
    numbers: dict[int, list[Event]] = field(default_factory=dict)
    saves: dict[int, list[Event]] = field(default_factory=dict)
    threads: int | None = None
    end: Event | None = None

    @property
    def trained(self) -> int:
        """Optimizer steps taken."""
        return sum(step.taken is not None for step in self.steps)


def read(path: str | Path) -> Run:
    """Read a file of records, also one whose writer was killed in the middle of a line."""
    run, current = Run(), Step()
    for line in Path(path).read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            break
        kind, step = event["kind"], event["step"]
        if kind == "start":
            run.threads = event["threads"]
        elif kind == "built":
            run.built = event
        elif kind == "model":
            run.models.append(event)
        elif kind == "seed":
            run.seeds.append(event)
        elif kind == "loader":
            run.loaders.append(event)
        elif kind == "backward":
            current.backwards.append(event)
        elif kind in ("clip", "unscale"):
            current.scaling.append(event)
        elif kind == "step":
            current.taken = event
            run.steps.append(current)
            current = Step()
        elif kind == "evaluated forward":
            run.evaluations.setdefault(step_of(event), []).append(event)
        elif kind == "evaluated loss":
            # Which pass over the data it belongs to: the loaders begun so far tell.
            event["pass"] = len(run.loaders)
            run.eval_losses.setdefault(step_of(event), []).append(event)
        elif kind == "number":
            run.numbers.setdefault(step, []).append(event)
        elif kind == "save":
            run.saves.setdefault(step, []).append(event)
        elif kind == "end":
            run.end = event
    if current.backwards:
        run.steps.append(current)
    for events in (*run.evaluations.values(), *run.eval_losses.values()):
        events.sort(key=lambda event: event["order"])
    return run


def step_of(event: Event) -> int:
    return event["step"]
