"""Questions about Lightning, answered by a trace that is made while the learner waits."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.compare.trace.events import Frame, HookCall, OperationCall, Trace, from_dict
from shared.compare.trace.operations import PACKAGES
from shared.compare.trace.where import Line, source
from shared.config import Config
from shared.errors import RunError
from shared.forks.client import Forks
from shared.processes import ROOT, last_line
from shared.puzzles.catalogue import Question

MODULE = "LightningModule"


@dataclass(frozen=True)
class Truth:
    """What a trace answers to a question.

    Attributes:
        name: of the hook, or of the function that the line belongs to.
        line: of Lightning; None where a hook is asked for.
    """

    name: str
    line: Line | None = None


def fresh_trace(forks: Forks) -> Trace:
    """The calls of two batches of `lightning/train.py`, with clipped gradients.

    Raises:
        RunError: the program failed.
    """
    config = {**vars(Config(dataset="digits")), "gradient_clip_val": 1.0}
    programs = json.dumps({"lightning": [["train", config]]})
    words = [sys.executable, "-m", "shared.compare.trace.tracer", programs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with open(path / "out", "w") as output, open(path / "errors", "w") as errors:
            status = forks.start(words, ROOT, output, errors=errors).wait()
        if status:
            raise RunError(f"tracing failed: {last_line((path / 'errors').read_text())}")
        (content,) = json.loads((path / "out").read_text())["lightning"]
    return from_dict(content)


def truth(question: Question, trace: Trace) -> Truth:
    """
    Raises:
        ValueError: what is asked for did not happen.
    """
    if question.kind == "line":
        return _line(question.of, trace)
    place = _place(question.of, trace)
    hooks = [(i, e) for i, e in enumerate(trace.events) if isinstance(e, HookCall)]
    if question.kind == "after":
        return Truth(next(hook.name for i, hook in hooks if i > place and hook.enter))
    if question.kind == "before":
        return Truth([hook.name for i, hook in hooks if i < place and not hook.enter][-1])
    around: list[str] = []
    for i, hook in hooks:
        if i >= place:
            break
        if hook.on == MODULE:
            around = [*around, hook.name] if hook.enter else around[:-1]
    return Truth(around[-1])


def _line(operation: str, trace: Trace) -> Truth:
    """The line of Lightning that makes most of the calls of an operation."""
    frames: Counter[Frame] = Counter(
        call.frames[0]
        for call in trace.calls
        if call.name == operation and call.frames[0][0].split("/")[0] in PACKAGES
    )
    if not frames:
        raise ValueError(f"Lightning makes no call of {operation}")
    ((file, number, name), _), *_ = frames.most_common(1)
    return Truth(name, Line(file, number))


def _place(name: str, trace: Trace) -> int:
    """Where an operation is first called, or a hook first begins."""
    for i, event in enumerate(trace.events):
        if event.name == name and (isinstance(event, OperationCall) or event.enter):
            return i
    raise ValueError(f"{name} was not called")


def check(answer: str, right: Truth) -> str:
    """Compare an answer, as `core/module.py:12` or as a name, with what the trace says.

    Returns:
        "right", or how near it is: a key of words.yaml.
    """
    given = answer.strip().strip("`").removesuffix("()")
    if place := re.fullmatch(r"(\S+\.py)[: ]+(\d+)", given):
        if right.line is None:
            return "want name"
        file, number = place[1].replace("\\", "/"), int(place[2])
        if not f"/{right.line.file}".endswith("/" + _in_package(file)):
            return "wrong file"
        if number == right.line.number:
            return "right"
        same = Line(right.line.file, number)
        is_near = 0 < number <= _length(same) and same.function == right.line.function
        return "near line" if is_near else "wrong line"
    if not re.fullmatch(r"[A-Za-z_][\w.]*", given):
        return "no answer"
    return "right" if given.rsplit(".", 1)[-1] == right.name else "wrong name"


def _in_package(file: str) -> str:
    """A path from its package on, however it was given."""
    parts = file.split("/")
    starts = [i for i, part in enumerate(parts) if part in PACKAGES]
    return "/".join(parts[starts[-1] :] if starts else parts)


def _length(line: Line) -> int:
    return len(source(line.file))


def clues(right: Truth) -> Sequence[tuple[str, dict[str, str]]]:
    """Three hints, each nearer: keys of words.yaml and what is put in."""
    if right.line is None:
        return (
            ("clue letters", {"count": str(len(right.name))}),
            ("clue begins", {"part": right.name[: right.name.index("_") + 1]}),
            ("clue ends", {"part": right.name[right.name.rindex("_") :]}),
        )
    folder, _, _ = right.line.file.rpartition("/")
    return (
        ("clue folder", {"folder": folder}),
        ("clue file", {"file": right.line.file}),
        ("clue function", {"name": right.line.function}),
    )
