"""The page: one file that opens from disk, with everything in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from shared.bench.claims import Claim, claim_rows
from shared.compare.comparison import ComparedRuns, costs, outcomes
from shared.compare.page.bench import BenchSection, newest_bench
from shared.compare.page.curves import draw_curves
from shared.compare.page.exhibit import FIRST, all_files, as_call, exhibit, programs
from shared.compare.page.gallery import HEIGHT, WIDTH, Gallery, gallery
from shared.compare.runs import CURVES, FinishedRun, largest_difference, other_settings
from shared.compare.source.lines import file_totals
from shared.compare.trace.operations import OPERATIONS
from shared.compare.words import compare_words
from shared.reporting.words import LANGUAGES

HERE = Path(__file__).parent
QUANTITIES = ("loss", "accuracy")
CARDS = 5


@dataclass(frozen=True)
class Drawings:
    """What of the page follows from no trace, and takes seconds.

    Attributes:
        curves: SVG by quantity.
        costs: for each concern its lines on both sides, and last those of all, without a name.
        files: every file of both sides as HTML.
        claims: the rows of the table of claims, with the numbers of the newest bench.
    """

    bench: BenchSection
    gallery: Gallery
    curves: dict[str, str]
    costs: list[tuple[str, int, int]]
    files: dict[str, tuple[str, ...]]
    claims: list[Claim]


def draw(raw: FinishedRun, lightning: FinishedRun) -> Drawings:
    bench = newest_bench()
    return Drawings(
        bench,
        gallery(),
        {quantity: draw_curves(raw, lightning, quantity) for quantity in QUANTITIES},
        [*costs(), ("", *file_totals())],
        all_files(),
        claim_rows(bench.result),
    )


def render(c: ComparedRuns, drawings: Drawings | None = None) -> str:
    """The page as HTML. Whatever comes from outside is escaped.

    Args:
        drawings: if they are made already.
    """
    drawings = drawings or draw(c.raw, c.lightning)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, prose=_prose, as_call=as_call)
    words = compare_words()
    whys = {key.removeprefix("why ") for key in words if key.startswith("why ")}
    shown = drawings.gallery.shown
    cards = {s.row["mistake"]: s for s in reversed(shown) if s.row["side"] == "raw_pytorch"}
    return environment.get_template("page.html").render(
        c=c,
        words=words,
        languages=LANGUAGES,
        css=(HERE / "page.css").read_text(),
        js=(HERE / "page.js").read_text(),
        programs=programs(c.answers),
        first=FIRST,
        data={
            **exhibit(c.answers, whys),
            "words": {k: v for k, v in words.items() if k.startswith(("say ", "why "))},
        },
        in_train=[a for a in c.answers if a.line.file.endswith("/train.py") and a.kind],
        tags={operation.name: operation.tag for operation in OPERATIONS},
        outcomes=outcomes(c),
        other_settings=other_settings(c.raw, c.lightning),
        differences={tag: largest_difference(c.raw, c.lightning, tag) for tag in CURVES},
        cards=list(reversed(cards.values()))[:CARDS],
        width=WIDTH,
        height=HEIGHT,
        **vars(drawings),
    )


def _prose(text: str) -> Markup:
    """Text in which names of code stand between backquotes."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped before


def _number(value: float) -> str:
    return f"{value:.3g}"
