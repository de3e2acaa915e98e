"""The first screen of the page: the raw programs line by line, and who makes each call now."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from shared.compare.source.code import highlight
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace.answers import YOURS, Answer, is_yours, snippets
from shared.compare.trace.where import Line, source

# As one reads them: the rungs first. The one whose lines the page opens with is the last.
PROGRAMS = ("minimal.py", "basic.py", "train.py")
FIRST = "loss.backward"


@dataclass(frozen=True)
class ShownLine:
    """A line of a raw program: its number, its HTML, the keys of its answers, and who has to write
    it now."""

    number: int
    html: str
    keys: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Program:
    """A raw program; of the whole one, the lines from the function that trains on."""

    name: str
    lines: tuple[ShownLine, ...]


def programs(answers: list[Answer]) -> list[Program]:
    """The raw programs with the answers of each line."""
    of: dict[Line, list[Answer]] = {}
    for answer in answers:
        of.setdefault(answer.line, []).append(answer)
    found = []
    for name in PROGRAMS:
        file = f"raw_pytorch/{name}"
        lines = []
        for number, html in enumerate(highlight("\n".join(source(file))), 1):
            here = _in_order(of.get(Line(file, number), []))
            kind = here[0].kind if here else ""
            lines.append(ShownLine(number, html, tuple(a.key for a in here), kind))
        found.append(Program(name, tuple(lines[_start(name) - 1 :])))
    return found


def _in_order(answers: list[Answer]) -> list[Answer]:
    """The calls that a line makes itself first, what it leads to after them."""
    return sorted(answers, key=lambda a: a.by_hand != a.line)


def _start(name: str) -> int:
    if name != "train.py":
        return 1
    tree = ast.parse("\n".join(source(f"raw_pytorch/{name}")))
    return next(n.lineno for n in tree.body if isinstance(n, ast.FunctionDef))


def as_call(name: str) -> str:
    """An operation as a reader would write it: `loss.backward()`, but `loss / n`."""
    return f"{name}()" if re.fullmatch(r"[\w.]+", name) else name


def exhibit(answers: list[Answer], whys: set[str]) -> dict[str, Any]:
    """What the page's script shows for each answer; code in it is HTML.

    Args:
        whys: the operations for which words.yaml says why the counts differ.
    """
    places = {answer.place for answer in answers}
    places |= {where for answer in answers for _, where, _ in answer.variants}
    told = {answer.key: _told(answer, whys) for answer in answers}
    # Ways and hooks repeat: each of their words stands in the page once.
    words: dict[str, int] = {}
    for values in told.values():
        for part in ("stack", "hooks"):
            values[part] = [words.setdefault(word, len(words)) for word in values[part]]
    return {
        "first": FIRST,
        "names": list(words),
        "answers": told,
        "places": {
            place.place: [place.function, [[n, html] for n, html in excerpt_html(place)]]
            for place in places
        },
        "snippets": {
            name: "\n".join(highlight(code.rstrip("\n"))) for name, code in snippets().items()
        },
    }


def _told(answer: Answer, whys: set[str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "line": answer.line.place,
        "name": as_call(answer.name) if answer.kind else answer.name,
        "kind": answer.kind,
        "say": _sentence(answer),
        "function": answer.place.function,
        "place": answer.place.place,
        "stack": [f"{line.place} {line.function}" for line in answer.stack],
        "hooks": answer.hooks,
        "hook": answer.hook,
        "override": answer.override,
        "partner": answer.partner.place,
    }
    if answer.variants:
        told["variants"] = [(flag, where.place, n) for flag, where, n in answer.variants]
    if told["say"] == "through":
        own = max(i for i, line in enumerate(answer.stack) if line.is_own)
        told["function"] = answer.stack[own + 1].function
    if answer.by_hand != answer.line:
        told["hand"] = answer.by_hand.place
    if answer.only_with:
        told["only"] = answer.only_with
    if answer.kind:
        told["calls"] = answer.calls
        if (answer.calls is None or answer.calls[0] != answer.calls[1]) and answer.name in whys:
            told["why"] = f"why {answer.name}"
    return told


def _sentence(answer: Answer) -> str:
    """How an answer begins: a key of words.yaml."""
    if answer.kind != YOURS:
        return answer.kind or "kept"
    if answer.place.is_own:
        return "own"
    return "yours" if is_yours(answer.name) else "through"


def excerpt_html(place: Line) -> list[tuple[int, str]]:
    numbers, texts = zip(*place.excerpt(), strict=True)
    return list(zip(numbers, highlight("\n".join(texts)), strict=True))


def all_files() -> dict[str, tuple[str, ...]]:
    """Every file of both sides as HTML, by `raw_pytorch/train.py`."""
    return {
        f"{folder.name}/{path.name}": highlight(path.read_text().rstrip("\n"))
        for folder in (RAW, LIGHTNING)
        for path in sorted(folder.glob("*.py"))
        if path.name != "__init__.py"
    }
