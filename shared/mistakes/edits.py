"""Changing code where it says something, whatever its layout and its comments are."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.processes import ROOT

# Tokens that only lay the code out.
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change of a file.

    Attributes:
        file: its name within its side.
        code: what is replaced: names, operators and brackets in their order. Comments, spaces and
            line breaks may be others, and so may a comma before a closing bracket.
        becomes: what takes its place. Its second line and those below are indented as the line on
            which the code begins; nothing removes the code.
        times: how often the code is there; it is replaced everywhere.
    """

    file: str
    code: str
    becomes: str
    times: int = 1


def changed(side: str, *edits: Sequence[Edit]) -> dict[str, str]:
    """The source of the files of a side that the edits change, by name. Of two edits of the same
    code, the later one holds.

    Raises:
        ValueError: the code to replace is not there as often as it should be, or what came out is
            no Python.
    """
    latest: dict[tuple[str, tuple[str, ...]], Edit] = {}
    for edit in (edit for group in edits for edit in group):
        latest[edit.file, words(edit.code)] = edit
    sources: dict[str, str] = {}
    for name in dict.fromkeys(edit.file for edit in latest.values()):
        here = [edit for edit in latest.values() if edit.file == name]
        try:
            sources[name] = apply((ROOT / side / name).read_text(), here)
            ast.parse(sources[name])
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{side}/{name}: {error}") from error
    return sources


def apply(source: str, edits: Sequence[Edit]) -> str:
    """The source after all edits, each of which looks for its code in the source as it was.

    Raises:
        ValueError: the code is not there as often as it should be, or two edits meet.
    """
    code = tokens(source)
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    spans: list[tuple[int, int, str]] = []
    for edit in edits:
        wanted = words(edit.code)
        found = [
            (code[i], code[i + len(wanted) - 1])
            for i in range(len(code) - len(wanted) + 1)
            if tuple(token.string for token in code[i : i + len(wanted)]) == wanted
        ]
        if len(found) != edit.times:
            raise ValueError(f"{len(found)} times {edit.code!r}; expected {edit.times}")
        for first, last in found:
            line = lines[first.start[0] - 1]
            indent = line[: len(line) - len(line.lstrip())]
            becomes = textwrap.indent(edit.becomes.strip("\n"), indent)[len(indent) :]
            begin = starts[first.start[0] - 1] + first.start[1]
            spans.append((begin, starts[last.end[0] - 1] + last.end[1], becomes))
    spans.sort()
    if any(after[0] < before[1] for before, after in pairwise(spans)):
        raise ValueError("two edits change the same code")
    for begin, end, becomes in reversed(spans):
        source = source[:begin] + becomes + source[end:]
    return source


def words(code: str) -> tuple[str, ...]:
    """The tokens of a piece of code, as text.

    Raises:
        ValueError: it is empty, or a bracket is not closed.
    """
    try:
        found = tuple(token.string for token in tokens(textwrap.dedent(code)))
    except (tokenize.TokenError, SyntaxError) as error:
        raise ValueError(f"{code!r} is no whole piece of code: {error.args[0]}") from None
    if not found:
        raise ValueError("an edit of no code")
    return found


def tokens(source: str) -> list[tokenize.TokenInfo]:
    """The tokens of Python source that say something."""
    code = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in LAYOUT
    ]
    return [
        token
        for i, token in enumerate(code)
        if not (token.string == "," and i + 1 < len(code) and code[i + 1].string in ")]}")
    ]
