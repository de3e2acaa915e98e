"""Both codes beside each other: highlighted, numbered, and aligned by concern."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from shared.compare.source.align import common
from shared.compare.source.concerns import TAG, concerns
from shared.compare.source.lines import LIGHTNING, RAW, code_lines, files


@dataclass(frozen=True)
class CodeLine:
    """A line of a file, as `raw_pytorch/train.py`, with its number, its highlighted HTML, and the
    concerns it belongs to."""

    file: str
    number: int
    html: str
    concerns: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Lines that stand beside each other."""

    raw: tuple[CodeLine, ...]
    lightning: tuple[CodeLine, ...]


@dataclass(frozen=True)
class FilePair:
    """A file of both sides; or one that only one side has, with `instead`, what the other has in
    its place. One of the raw side stands beside the other's lines under the same concerns."""

    name: str
    pairs: tuple[Pair, ...]
    instead: str = ""


def mirrored() -> list[FilePair]:
    return [_mirrored(file.name) for file in files() if file.raw and file.lightning]


def only_raw() -> list[FilePair]:
    found = []
    for file in files():
        if file.lightning is None:
            tags = TAG.findall((RAW / file.name).read_text().split('"""')[1])
            theirs = [
                line
                for path in sorted(LIGHTNING.glob("*.py"))
                for line in code(path)
                if set(tags) & set(line.concerns)
            ]
            pair = Pair(code(RAW / file.name), tuple(theirs))
            found.append(FilePair(file.name, (pair,), file.instead))
    return found


def only_lightning() -> list[FilePair]:
    """The files that only the Lightning side has."""
    return [
        FilePair(file.name, (Pair((), code(LIGHTNING / file.name)),), file.instead)
        for file in files()
        if file.raw is None
    ]


@cache
def code(path: Path) -> tuple[CodeLine, ...]:
    """All lines of a file."""
    source = path.read_text()
    tagged: dict[int, list[str]] = {}
    for tag, places in concerns(path.parent).items():
        for place in places:
            for number in place.lines if place.file == path.name else ():
                tagged.setdefault(number, []).append(tag)
    _tag_comments(source, tagged)
    file = f"{path.parent.name}/{path.name}"
    return tuple(
        CodeLine(file, number, html, tuple(dict.fromkeys(tagged.get(number, ()))))
        for number, html in enumerate(highlight(source), 1)
    )


def _tag_comments(source: str, tagged: dict[int, list[str]]) -> None:
    """Let comments and empty lines go with the code: from their tag on, or between two lines that
    have the tag."""
    counted = code_lines(source)
    above: list[str] = []
    for number, text in enumerate(source.splitlines(), 1):
        if number in counted:
            above = tagged.get(number, [])
            continue
        below = next((tagged.get(n, []) for n in sorted(counted) if n > number), [])
        own = TAG.findall(text)
        tagged[number] = own + [tag for tag in above if tag in below]
        if own:
            above = own


def highlight(source: str) -> list[str]:
    """The lines of Python source as HTML: escaped, and with a class for each kind of token."""
    from pygments import highlight

    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return highlight(source, lexer, HtmlFormatter(nowrap=True)).splitlines()


def _mirrored(name: str) -> FilePair:
    raw, lightning = code(RAW / name), code(LIGHTNING / name)
    ours, theirs = anchors(RAW / name), anchors(LIGHTNING / name)
    pairs, a, b = [], 0, 0
    for i, j in sorted(common(theirs, ours).items()):
        pairs.append(Pair(raw[a : j - 1], lightning[b : i - 1]))
        a, b = j - 1, i - 1
    pairs.append(Pair(raw[a:], lightning[b:]))
    return FilePair(name, tuple(p for p in pairs if p.raw or p.lightning))


def anchors(path: Path) -> list[tuple[int, str]]:
    """The lines that may be aligned with one of the other side: tags, functions and classes."""
    source = path.read_text()
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.lineno] = f"def {node.name}"
    for number, text in enumerate(source.splitlines(), 1):
        if number not in found and (tags := TAG.findall(text.partition("#")[2])):
            found[number] = tags[0]
    return sorted(found.items())
