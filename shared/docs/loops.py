"""The table at the top of the README: the raw loop of basic.py beside the lines of the other side's
basic.py that take its place."""

from __future__ import annotations

import ast
import contextlib
import html
import io
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shared.compare.source.lines import LIGHTNING, RAW, code_lines

# Lines of the raw loop that are shown, from its `for` on.
SHOWN = 15

# A page of GitHub is 846 px wide. Of these, the cells and the code blocks in them take 119 px; a
# character of code is at most 8.2 px wide.
COLUMNS = (48, 40)


def loops_table() -> str:
    """Both pieces of code in a table of HTML, which a README may hold."""
    shown = zip((RAW, LIGHTNING), (raw_loop(), instead_of_it()), COLUMNS, strict=True)
    titles, cells = [], []
    for side, lines, width in shown:
        code = "\n".join(html.escape(line, quote=False) for line in narrow(lines, width))
        titles.append(f"<th><code>{side.name}/basic.py</code></th>")
        cells.append(f'<td valign="top"><pre lang="python">\n{code}\n</pre></td>')
    return f"<table><tr>{''.join(titles)}</tr><tr>\n{''.join(cells)}\n</tr></table>"


def raw_loop() -> list[str]:
    """The loop over the epochs: its first lines of code."""
    source = (RAW / "basic.py").read_text()
    loop = next(node for node in ast.parse(source).body if isinstance(node, ast.For))
    lines = sorted(n for n in code_lines(source) if n >= loop.lineno)
    return [source.splitlines()[n - 1] for n in lines[:SHOWN]]


def instead_of_it() -> list[str]:
    """What the training step tells the Trainer, how the Trainer is made, and the call of `fit`."""
    source = (LIGHTNING / "basic.py").read_text()
    text, tree = source.splitlines(), ast.parse(source)
    step = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "training_step"
    )
    made = (node for node in tree.body if ast.unparse(node).startswith("trainer = "))
    fit = (node for node in tree.body if ast.unparse(node).startswith("trainer.fit("))
    logged = (node for node in step.body if ast.unparse(node).startswith("self.log("))
    return [
        line[node.col_offset :]
        for node in (*logged, *made, *fit)
        for line in text[node.lineno - 1 : node.end_lineno]
    ]


def narrow(lines: Sequence[str], width: int) -> list[str]:
    """The same code without comments, two columns a level in place of four, and each line broken
    where it is too long.

    Raises:
        ValueError: a line cannot be broken.
    """
    found: list[str] = []
    for line in lines:
        bare = _without_comment(line)
        indent = (len(bare) - len(bare.lstrip())) // 2
        rest = bare.strip()
        places, done, before = _breaks(rest), 0, indent
        while len(rest) - done + before > width:
            fits = [place for place in places if done < place.end <= done + width - before]
            if not fits:
                raise ValueError(f"no place to break within {width} columns: {rest[done:]}")
            end = max(fits, key=lambda place: (-place.depth, place.end)).end
            found.append(" " * before + rest[done:end])
            done, before = end + (rest[end] == " "), indent + 4
        found.append(" " * before + rest[done:])
    return found


class Place(NamedTuple):
    """Where a line may be broken: the column, and how many brackets are open there."""

    end: int
    depth: int


def _breaks(text: str) -> list[Place]:
    """After an opening bracket that is not closed at once, and after a comma within brackets."""
    places, depth = [], 0
    for token in _tokens(text):
        depth += (token.string in "([{") - (token.string in ")]}") if token.string else 0
        is_open = token.string == "(" and text[token.end[1] :][:1] != ")"
        if is_open or (token.string == "," and depth):
            places.append(Place(token.end[1], depth))
    return places


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of a line, which may be the beginning of a call only."""
    with contextlib.suppress(tokenize.TokenError):
        yield from tokenize.generate_tokens(io.StringIO(text).readline)


def _without_comment(line: str) -> str:
    bare = line.strip()
    starts = [token.start[1] for token in _tokens(bare) if token.type == tokenize.COMMENT]
    return line[: line.index(bare) + starts[0]].rstrip() if starts else line
