"""What a recorder writes, one event a line, and how the lines are put together again.

Every event bears `kind`, `step` (the updates of the weights that came before it) and `time`
(seconds since the program began, without those spent on recording). `where` holds lines of the
program's own code, innermost first: (file, line, function).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from .fingerprints import Print

Where = list[tuple[str, int, str]]
Named = list[tuple[str, "Print"]]  # tensors by name


class Event(TypedDict):
    kind: str
    step: int
    time: float


class Operation(TypedDict):
    """One call of a function of torch, between the first layer and backward().

    `inputs` and `value` are checksums of samples of the tensors that went in and of the one that
    came out; `given` says the arguments that are no tensors.
    """

    name: str
    given: dict[str, str]
    inputs: list[int]
    value: int
    values: list[float]
    norm: float
    dtype: str
    count: int
    graph: bool
    layer: str
    where: Where


class Leaf(TypedDict):
    """A module without children that was called."""

    name: str
    type: str
    training: bool


class Forward(Event):
    """The outermost call of a module. A call that builds no graph has the `state` of all its
    tensors: it is an evaluation, or a part of training that is not trained itself."""

    order: int
    number: int
    module: str
    wrapped: bool
    grad: bool
    training: bool
    rng: dict[str, str]
    inputs: list[Print]
    leaves: list[Leaf]
    outputs: list[Print]
    where: Where
    state: list[tuple[str, str, list[int]]]
    operations: list[Operation]
    right: list[tuple[int, int]]  # of comparisons of a batch: how many were true, of how many


class Loss(Event):
    order: int
    number: int
    name: str
    given: dict[str, str]
    input: Print
    probabilities: bool
    target: Print | None
    batch: int
    value: float | None
    where: Where


class Backward(Event):
    """`loss` is without the `scale` of a gradient scaler, the gradients are with it. `inside` of
    an optimizer's step are those of a closure. `leftover` are the norms of the gradients that were
    there before."""

    micro: int
    inside: bool
    forwards: list[Forward]
    losses: list[Loss]
    operations: list[Operation]
    early: list[Operation]
    loss: Print | None
    scale: float
    leftover: list[tuple[str, float]]
    graph: dict[str, int]
    gradients: Named
    where: Where


class Touched(Event):
    """The program wrote to a parameter or to a gradient by itself."""

    what: str
    name: str
    operation: str
    given: dict[str, str]
    where: Where


class Changed(Event):
    """Weights that are not what the last step left."""

    names: list[str]
    where: Where


class Clip(Event):
    limit: float
    norm_type: float
    norm: float | None
    count: int
    by: str
    micro: int
    where: Where


class Unscale(Event):
    scale: float
    where: Where


class Taken(Event):
    """An optimizer step, or an update of the weights without one (`optimizer` is then empty)."""

    optimizer: str
    number: int
    made: Where
    where: Where
    schedule: Where
    groups: list[dict[str, Any]]
    missing: list[str]
    foreign: int
    total: int
    gradients: Named
    weights: Named
    moved: list[str]
    buffers: Named
    momenta: dict[str, float]
    began: dict[str, float] | None
    kept: int
    memory: int


class Model(Event):
    number: int
    module: str
    parameters: Named
    buffers: Named
    settings: list[tuple[str, str, dict[str, str], Where]]
    loose: list[str]
    hooks: list[tuple[str, str]]
    frozen: list[str]
    where: Where


class Seed(Event):
    of: str
    value: int
    built: bool
    where: Where


class Loader(Event):
    """An iterator over a DataLoader was made. `own` is the state of the generator that its sampler
    has for itself, before that."""

    number: int
    own: int | None
    size: int | None
    batch_size: int | None
    drew: bool
    workers: int
    persistent: bool
    sampler: str
    settings: dict[str, str]
    where: Where


class Exhausted(Event):
    """A DataLoader was asked for one batch more than it has."""

    number: int


class Number(Event):
    """`rates` are the learning rates when it was reported, of which it may be one."""

    source: str
    tag: str
    value: float
    digits: int | None
    rates: list[float]
    where: Where


class Metric(Event):
    """What a metric object gave, and how often it was updated since it was last reset."""

    name: str
    average: str | None
    training: int
    evaluation: int
    value: float | None
    where: Where


class Save(Event):
    weights: str
    optimizer: bool
    schedule: bool
    prefix: str
    seconds: float
    where: Where


class Load(Event):
    of: str
    where: Where


class Start(Event):
    threads: int
    torch: str
    world: int
    rng: dict[str, str]


class End(Event):
    how: str
    error: str
    where: Where
    seconds: float
    recording: float
    faults: list[str]
    compiled: Where | None
    lightning: bool
    unseeded: Where


@dataclass
class Step:
    """One update of the weights: the backward passes before it, clipping and unscaling in their
    order, and the step itself, which is missing where the program ended first."""

    backwards: list[Backward] = field(default_factory=list)
    scaling: list[Clip | Unscale] = field(default_factory=list)
    touched: list[Touched] = field(default_factory=list)
    taken: Taken | None = None


@dataclass
class Run:
    """Events by kind. Those after an update of the weights bear the number of updates by then."""

    steps: list[Step] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    built: Event | None = None
    seeds: list[Seed] = field(default_factory=list)
    loaders: list[Loader] = field(default_factory=list)
    exhausted: list[Exhausted] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    changed: dict[int, Changed] = field(default_factory=dict)
    touched: dict[int, list[Touched]] = field(default_factory=dict)
    evaluations: dict[int, list[Forward]] = field(default_factory=dict)
    eval_losses: dict[int, list[Loss]] = field(default_factory=dict)
    numbers: dict[int, list[Number]] = field(default_factory=dict)
    metrics: dict[int, list[Metric]] = field(default_factory=dict)
    saves: dict[int, list[Save]] = field(default_factory=dict)
    nudged: list[Event] = field(default_factory=list)
    start: Start | None = None
    end: End | None = None

    @property
    def trained(self) -> int:
        """Updates of the weights."""
        return sum(step.taken is not None for step in self.steps)

    @property
    def threads(self) -> int | None:
        return self.start["threads"] if self.start else None

    @property
    def world(self) -> int:
        return self.start["world"] if self.start else 1


def read(path: str | Path) -> Run:
    """Read a file of records, also one whose writer was killed in the middle of a line."""
    run, current = Run(), Step()
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            break
        current = _add(run, current, event)
    if current.backwards:
        run.steps.append(current)
    for evaluation in run.evaluations.values():
        evaluation.sort(key=lambda event: event["order"])
    for losses in run.eval_losses.values():
        losses.sort(key=lambda event: event["order"])
    for number, step in enumerate(run.steps):
        for backward in step.backwards:
            _take_over(backward, run.evaluations.get(number, []))
    run.evaluations = {number: calls for number, calls in run.evaluations.items() if calls}
    return run


def _take_over(backward: Backward, calls: list[Forward]) -> None:
    """A call without a graph whose result goes into a backward pass was no evaluation, but a part
    of that pass: frozen layers, a teacher, what a generator made for a discriminator."""
    events = [*backward["forwards"], *backward["losses"]]
    last = max((event["order"] for event in events), default=0)
    went_in = {i["hash"] for f in backward["forwards"] for i in f["inputs"]}
    went_in |= {v["target"]["hash"] for v in backward["losses"] if v["target"]}
    sums = _led_to(backward)
    sums |= {i["sum"] for f in backward["forwards"] for i in f["inputs"] if "sum" in i}
    for call in reversed(calls[:]):
        # Tensors that cannot be read have no sum, and one hash for all of them.
        is_given = any("sum" in v and v["hash"] in went_in for v in call["outputs"])
        is_given = is_given or bool(_results(call) & sums)
        if call["order"] > last or not is_given:
            continue
        calls.remove(call)
        backward["forwards"].insert(0, call)
        backward["operations"][:0] = call["operations"]
        went_in |= {i["hash"] for i in call["inputs"]}
        sums |= {v for p in call["operations"] for v in p["inputs"]}
        sums |= {i["sum"] for i in call["inputs"] if "sum" in i}


def _led_to(backward: Backward) -> set[int]:
    """Checksums of all that led to the loss, and not of what was computed besides."""
    loss = backward["loss"]
    value = loss["values"][:1] if loss else []
    ends = [p for p in backward["operations"] if p["graph"] and p["values"][:1] == value]
    todo = {p["value"] for p in ends[-1:]}
    todo |= {v["sum"] for f in backward["forwards"] for v in f["outputs"] if "sum" in v}
    found: set[int] = set()
    for p in reversed(backward["operations"]):
        if p["value"] in todo:
            todo.update(p["inputs"])
            found.update(p["inputs"])
    return found


def _results(call: Forward) -> set[int]:
    """Checksums of what a call gave, and of what was computed from that after it."""
    found = {v["sum"] for v in call["outputs"] if "sum" in v}
    for p in call["operations"]:
        if not p["layer"] and p["value"] and found & set(p["inputs"]):
            found.add(p["value"])
    return found


def _add(run: Run, current: Step, event: Any) -> Step:
    """Put one event in its place.

    Returns:
        The step that is not complete yet.
    """
    kind, step = event["kind"], event["step"]
    lists: dict[str, list[Any]] = {
        "model": run.models, "seed": run.seeds, "loader": run.loaders, "load": run.loads,
        "exhausted": run.exhausted, "nudged": run.nudged,
        "backward": current.backwards, "clip": current.scaling, "unscale": current.scaling,
    }  # fmt: skip
    tables: dict[str, dict[int, list[Any]]] = {
        "evaluated": run.evaluations, "evaluated loss": run.eval_losses,
        "number": run.numbers, "metric": run.metrics, "save": run.saves,
    }  # fmt: skip
    if kind in lists:
        lists[kind].append(event)
    elif kind in tables:
        tables[kind].setdefault(step, []).append(event)
    elif kind == "touched":
        # Before the step if a backward pass waits for one, otherwise after the step before.
        if current.backwards:
            current.touched.append(event)
        run.touched.setdefault(step, []).append(event)
    elif kind == "changed":
        run.changed.setdefault(step, event)
    elif kind == "step":
        current.taken = event
        run.steps.append(current)
        return Step()
    elif kind == "start":
        run.start = event
    elif kind == "built":
        run.built = event
    elif kind == "end":
        run.end = event
    return current
