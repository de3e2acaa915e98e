"""The page: one file that opens from disk, with everything in it."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from shared.bench.claims import claim_rows
from shared.compare.comparison import ComparedRuns, costs, outcomes
from shared.compare.page.bench import newest_bench
from shared.compare.page.curves import draw_curves
from shared.compare.page.gallery import shown_mistakes
from shared.compare.runs import CURVES, largest_difference, other_settings
from shared.compare.source import sidebyside
from shared.compare.source.concerns import CONCERNS, concerns
from shared.compare.source.lines import RAW, file_totals, files
from shared.compare.trace.bookkeeping import kept
from shared.compare.trace.where import Line, lines_of
from shared.compare.words import compare_words
from shared.reporting.words import LANGUAGES

HERE = Path(__file__).parent
QUANTITIES = ("loss", "accuracy")


def render(c: ComparedRuns) -> str:
    """The page as HTML. Whatever comes from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        slug=slug,
        highlight=_highlight,
        number=_number,
        source_html=_source_html,
        code=_code,
        prose=_prose,
    )
    bench = newest_bench()
    return environment.get_template("page.html").render(
        c=c,
        sides=(("raw", c.raw), ("lightning", c.lightning)),
        words=compare_words(),
        languages=LANGUAGES,
        css=(HERE / "page.css").read_text(),
        js=(HERE / "page.js").read_text(),
        tags=[tag for tag in CONCERNS if tag in concerns(RAW)],
        outcomes=outcomes(c),
        other_settings=other_settings(c.raw, c.lightning),
        mirrored=sidebyside.mirrored(),
        only_raw=sidebyside.only_raw(),
        only_lightning=sidebyside.only_lightning(),
        calls=lines_of(c.rows),
        kept=kept(),
        bookkeeping={(x.file, x.number): i for i, k in enumerate(kept()) for x in k.raw},
        parts=[(part, list(group)) for part, group in groupby(c.moments, lambda m: m.part)],
        curves={quantity: draw_curves(c.raw, c.lightning, quantity) for quantity in QUANTITIES},
        differences={tag: largest_difference(c.raw, c.lightning, tag) for tag in CURVES},
        costs=costs(),
        files=files(),
        file_totals=file_totals(),
        exhibits=shown_mistakes(),
        bench=bench,
        claims=claim_rows(bench.result) if bench else [],
        has_sanity=any(row.sanity for row in c.rows),
    )


def slug(name: str) -> str:
    """A name as part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _highlight(line: Line) -> list[tuple[int, str]]:
    """The lines around one, with their numbers, as HTML."""
    numbers, texts = zip(*line.excerpt(), strict=True)
    return list(zip(numbers, sidebyside.highlight("\n".join(texts) + "\n"), strict=True))


def _source_html(text: str) -> str:
    return sidebyside.highlight(text)[0]


def _prose(text: str) -> Markup:
    """Text in which names of code stand between backquotes."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped before


def _code(html: str) -> str:
    """A highlighted line whose indentation stands apart: in a narrow window it would else be the
    first place to break, and leave a line with nothing on it."""
    indented = re.match(r"((?:<span[^>]*>)*)( +)(?=[^ ])", html)
    if indented is None:
        return f"<code>{html}</code>"
    spans, spaces = indented.groups()
    rest = html[indented.end() :]
    indent = f'<span class="indent">{spaces}</span>'
    return f'<code style="--indent:{len(spaces)}">{indent}{spans}{rest}</code>'


def _number(value: float) -> str:
    return f"{value:.3g}"
