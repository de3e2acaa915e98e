"""Both codes beside each other in a terminal, file by file, as `make diff` shows them.

python -m shared.compare.diff [FILE]

Only the standard library is needed, so this runs before anything is installed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("raw_pytorch", "lightning")
# The order in which one reads them; others follow by name.
READING_ORDER = ["minimal.py", "basic.py", "module.py", "data.py", "train.py"]
NARROWEST = 60  # columns
ALIKE = 0.5  # the likeness from which two lines are taken for versions of one line

TOKEN = re.compile(r"\w+|\s+|.")
TAG = re.compile(r"#.*?(\[[a-z-]+\])")


# Which lines belong together


class Block(NamedTuple):
    """Lines that stand beside each other: one of each side that are alike, or any number of either
    that are not."""

    left: list[str]
    right: list[str]
    alike: bool


def likeness(a: str, b: str) -> float:
    """How much two lines have in common, from 0 to 1: what the words of both make of all their
    letters."""
    if a.strip() == b.strip():
        return 1.0
    if a.lstrip().startswith("#") != b.lstrip().startswith("#"):
        return 0.0
    words, others = re.findall(r"\w+", a), re.findall(r"\w+", b)
    if not words or not others:
        return 0.0
    common = sum(len(word) * min(words.count(word), others.count(word)) for word in set(words))
    return 2 * common / (len("".join(words)) + len("".join(others)))


def gain(a: str, b: str) -> float:
    """What it is worth that two lines face each other; 0 forbids it."""
    alike = likeness(a, b)
    if alike == 1:
        # An empty line or a bracket says little about where one is.
        return 4.0 if re.search(r"\w", a) else 0.5
    if alike >= ALIKE:
        return 2 * alike
    # Whatever they say, they see to the same concern.
    return 1.0 if set(TAG.findall(a)) & set(TAG.findall(b)) else 0.0


def align(left: list[str], right: list[str]) -> list[Block]:
    """Lines of two files beside each other, so that as much as possible faces its like."""
    gains = [[gain(a, b) for b in right] for a in left]
    # best[i][j]: what the lines from i and from j on are worth.
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            paired = gains[i][j] and gains[i][j] + best[i + 1][j + 1]
            best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
    pairs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if gains[i][j] and best[i][j] == gains[i][j] + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    # An empty line or a bracket alone between lines that differ would only tear them apart.
    kept = [
        (i, j)
        for i, j in pairs
        if re.search(r"\w", left[i]) or {(i - 1, j - 1), (i + 1, j + 1)} & set(pairs)
    ]
    blocks, i, j = [], 0, 0
    for a, b in [*kept, (len(left), len(right))]:
        if i < a or j < b:
            blocks.append(Block(left[i:a], right[j:b], False))
        if a < len(left):
            blocks.append(Block([left[a]], [right[b]], likeness(left[a], right[b]) >= ALIKE))
        i, j = a + 1, b + 1
    return blocks


# How they are drawn


def differing(a: str, b: str) -> tuple[str, str]:
    """For each of two lines as many characters as it has: ^ where it differs from the other one."""
    words, others = TOKEN.findall(a.lstrip()), TOKEN.findall(b.lstrip())
    left, right = (" " * (len(line) - len(line.lstrip())) for line in (a, b))
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, words, others, False).get_opcodes():
        mark = " " if kind == "equal" else "^"
        left += mark * len("".join(words[a0:a1]))
        right += mark * len("".join(others[b0:b1]))
    return left, right


def fold(text: str, marks: str, width: int) -> list[tuple[str, str]]:
    """A line and its marks in rows of at most `width` characters. What does not fit goes on below,
    further to the right than the line began."""
    margin = len(text) - len(text.lstrip())
    hanging = " " * min(margin + 4, width // 2)
    is_prose = text[margin:].startswith("#")
    rows, indent = [], ""
    while len(indent + text) > width:
        end = place_to_fold(text, width - len(indent), is_prose)
        row = indent + text[:end].rstrip()
        rows.append((row, (indent + marks)[: len(row)]))
        text, marks, indent = text[end:], marks[end:], hanging
    return [*rows, (indent + text, indent + marks)]


def place_to_fold(text: str, room: int, is_prose: bool) -> int:
    """Where to cut a text so that the first part fits: before a comment, or else after a space or
    an opening bracket in as few brackets as possible, but not so early that little is left. Prose
    is cut at spaces only, if it has any."""
    margin = len(text) - len(text.lstrip())
    depth, places, others = 0, [], []
    for place in range(margin + 1, room + 1):
        before, after = text[place - 1], text[place]
        depth += (before in "([{") - (before in ")]}")
        if text[place:].startswith("# ") and place > room // 3 and not is_prose:
            return place
        if before == " " or after == " " or (before == "(" and after != ")" and not is_prose):
            places.append((place > room // 2, -depth, place + (after == " ")))
        elif before in "=[/" or after == ".":
            others.append(place)
    if places:
        return max(places)[2]
    return max(others, default=room)


class Style(NamedTuple):
    """What a terminal is told to begin and to end a colour; nothing where there is none."""

    title: str = ""
    left: str = ""
    right: str = ""
    sign: str = ""
    plain: str = ""


COLOURS = Style("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m")

LEGEND = "<  only on the left    >  only on the right    |  not the same"


def paint(text: str, marks: str, colour: str, style: Style) -> str:
    """The marked characters in a colour."""
    painted = ""
    for run in re.finditer(r"\^+| +", marks):
        part = text[run.start() : run.end()]
        painted += f"{colour}{part}{style.plain}" if run[0][0] == "^" else part
    return painted


def halves(width: int) -> tuple[int, int]:
    """The columns of each side, as many for both so that equal lines are folded equally, and those
    between them."""
    half = (width - 3) // 2
    return half, width - 2 * half


def fold_all(lines: list[str], marks: list[str], width: int) -> list[tuple[str, str]]:
    return [row for text, mark in zip(lines, marks, strict=True) for row in fold(text, mark, width)]


def draw(block: Block, width: int, style: Style) -> Iterator[str]:
    """Lines beside each other, in as many rows of a screen as they take."""
    half, gap = halves(width)
    same = block.alike and block.left[0].strip() == block.right[0].strip()
    if block.alike and not same:
        marks = [[mark] for mark in differing(block.left[0], block.right[0])]
    else:
        mark = " " if same else "^"
        marks = [[mark * len(line) for line in lines] for lines in (block.left, block.right)]
    left = fold_all(block.left, marks[0], half)
    right = fold_all(block.right, marks[1], half)
    for (a, marks_a), (b, marks_b) in zip_longest(left, right, fillvalue=("", "")):
        sign = "|" if block.alike or (a and b) else "<" if a else ">" if b else " "
        if same:
            sign = " "
        between = f" {style.sign}{sign}{style.plain}" + " " * (gap - 2)
        if style.plain:
            padding = " " * (half - len(a))
            a, b = paint(a, marks_a, style.left, style), paint(b, marks_b, style.right, style)
            yield f"{a}{padding}{between}{b}"
        else:
            yield f"{a:{half}}{between}{b}".rstrip()
            if block.alike and "^" in marks_a + marks_b:
                yield f"{marks_a:{half}}{' ' * gap}{marks_b}".rstrip()


# What is shown


def lines(side: str, name: str) -> list[str]:
    path = ROOT / side / name
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def files() -> tuple[list[str], list[str], list[str]]:
    """The names of the files that both sides have, as one reads them, and that only one has."""
    left, right = (
        {path.name for path in (ROOT / side).glob("*.py")} - {"__init__.py"} for side in SIDES
    )
    order = {name: place for place, name in enumerate(READING_ORDER)}
    both = sorted(left & right, key=lambda name: (order.get(name, len(order)), name))
    return both, sorted(left - right), sorted(right - left)


def counterpart(side: str, name: str) -> str:
    """What takes the place of a file on the other side, as its docstring says."""
    text = ast.get_docstring(ast.parse("\n".join(lines(side, name)))) or ""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    for opening in ("Lightning: ", "By hand, "):
        for paragraph in paragraphs:
            if paragraph.startswith(opening):
                return paragraph
    return paragraphs[0]


def draw_list(side: str, names: list[str], width: int, style: Style) -> Iterator[str]:
    """Files that only one side has, each with what takes its place."""
    yield f"{style.title}Only in {side}{style.plain}"
    indent = max(map(len, names)) + 4
    for name in names:
        first, *others = textwrap.wrap(counterpart(side, name), width - indent) or [""]
        yield f"  {name:{indent - 2}}{first}"
        yield from (" " * indent + other for other in others)
    yield ""


def draw_file(name: str, width: int, style: Style) -> Iterator[str]:
    """A file of both sides, or one that only one side has."""
    left, right = (lines(side, name) for side in SIDES)
    if not (left and right):
        side = SIDES[0] if left else SIDES[1]
        yield f"{style.title}Only in {side}: {name}{style.plain}"
        yield from textwrap.wrap(counterpart(side, name), width)
        yield ""
        yield from (row for line in left or right for row, _ in fold(line, "", width))
        return
    half, gap = halves(width)
    titles = [f"{side}/{name}" for side in SIDES]
    yield f"{style.title}{titles[0]:{half + gap}}{titles[1]}{style.plain}"
    if not style.plain:
        yield f"{'-' * half}{' ' * gap}{'-' * half}"
    for block in align(left, right):
        yield from draw(block, width, style)


def draw_all(width: int, style: Style) -> Iterator[str]:
    both, *single = files()
    for side, names in zip(SIDES, single, strict=True):
        if names:
            yield from draw_list(side, names, width, style)
    yield LEGEND if style.plain else f"{LEGEND} (^ marks where)"
    for name in both:
        yield ""
        yield from draw_file(name, width, style)


# The program


def columns() -> int:
    """The width of the screen, also where only the errors go there."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return max(int(given), NARROWEST)
    for descriptor in (1, 2, 0):
        try:
            return max(os.get_terminal_size(descriptor).columns or 80, NARROWEST)
        except OSError:
            continue
    return 80


def has_colours() -> bool:
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()


def show(shown: Iterator[str]) -> None:
    """Print lines, on a terminal page by page."""
    words = shlex.split(os.environ.get("PAGER") or "less")
    if not sys.stdout.isatty() or not words or not shutil.which(words[0]):
        for line in shown:
            print(line)
        return
    environment = {"LESS": "FRX", **os.environ}
    pager = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment, encoding="utf-8")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the pager
    assert pager.stdin is not None
    with contextlib.suppress(BrokenPipeError), pager.stdin as page:  # left before its end
        page.writelines(f"{line}\n" for line in shown)
    pager.wait()


def main(arguments: list[str]) -> int:
    style = COLOURS if has_colours() else Style()
    if not arguments:
        show(draw_all(columns(), style))
        return 0
    both, left, right = files()
    known = [name[: -len(".py")] for name in [*both, *left, *right]]
    name = Path(arguments[0]).stem
    if len(arguments) > 1 or name not in known:
        given = " ".join(arguments)
        print(f"error: FILE={given}: expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    show(draw_file(f"{name}.py", columns(), style))
    return 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # whoever read it has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 0
    sys.exit(status)
