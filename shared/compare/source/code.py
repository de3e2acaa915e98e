"""Source as HTML, with a mark for what a reader looks for and for nothing else."""

from __future__ import annotations

from functools import cache
from html import escape

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

# The kinds of words that are marked, by the name of their element's class.
KINDS = {
    "c": (Comment,),
    "s": (String,),
    "k": (Keyword, Operator.Word),
    "n": (Name.Function, Name.Class, Name.Decorator),
    "m": (Number,),
}


@cache
def highlight(source: str) -> tuple[str, ...]:
    """The lines of Python source as HTML, escaped."""
    html = ""
    for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(source):
        name = _class(kind)
        parts = [f'<i class={name}>{escape(part)}</i>' if name and part else escape(part)
                 for part in text.split("\n")]  # fmt: skip
        html += "\n".join(parts)
    # Words of one kind that follow each other are one.
    for name in KINDS:
        html = html.replace(f"</i><i class={name}>", "") if name in "cs" else html
    return tuple(html.split("\n"))


def _class(kind: _TokenType) -> str:
    return next((name for name, kinds in KINDS.items() if any(kind in k for k in kinds)), "")
