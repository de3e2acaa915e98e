"""The page: one file that opens from disk, with everything in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from shared.bench import claims
from shared.compare.page import benched, confident, curves
from shared.compare.page.confident import Mistake
from shared.compare.page.exhibits import exhibits
from shared.compare.page.words import LANGUAGES, words
from shared.compare.runs import CURVES, Run, largest_difference, other_settings, read_run
from shared.compare.source import sidebyside
from shared.compare.source.lines import LIGHTNING, RAW, concerns, files, total
from shared.compare.trace.bookkeeping import kept
from shared.compare.trace.timeline import Moment, moments
from shared.compare.trace.trace import trace_both
from shared.compare.trace.where import Line, Row, Trace, lines_of, rows
from shared.docs.readme import CONCERNS
from shared.errors import UsageError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Comparison:
    """All that the page and the terminal show."""

    raw: Run
    lightning: Run
    rows: list[Row]
    moments: list[Moment]
    mistakes: list[Mistake]

    @property
    def equal(self) -> bool:
        names = ("weights_sha256", "best_weights_sha256")
        return all(self.raw.summary[n] == self.lightning.summary[n] for n in names)


def make_comparison(
    raw: Path,
    lightning: Path,
    *,
    memory: tuple[int | None, int | None] = (None, None),
    traces: Sequence[Trace] | None = None,
) -> Comparison:
    """Compare two run folders; without `traces`, trace both sides now.

    Raises:
        UsageError: a folder holds no finished run, or the two are of different datasets.
        RunError: a side could not be traced, or a run's checkpoint is damaged.
    """
    runs = read_run("raw_pytorch", raw, memory[0]), read_run("lightning", lightning, memory[1])
    datasets = [run.summary["dataset"] for run in runs]
    if datasets[0] != datasets[1]:
        raise UsageError(f"--lightning: a run on {datasets[1]}; the raw one is on {datasets[0]}")
    wrong = confident.find(*runs)
    traces = traces or trace_both()
    return Comparison(*runs, rows(*traces), moments(*traces), wrong)


def render(comparison: Comparison) -> str:
    """The page as HTML. Whatever comes from outside is escaped."""
    import jinja2

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
    c = comparison
    return environment.get_template("page.html").render(
        c=c,
        sides=(("raw", c.raw), ("lightning", c.lightning)),
        words=words(),
        languages=LANGUAGES,
        css=(HERE / "page.css").read_text(),
        js=(HERE / "page.js").read_text(),
        tags=[tag for tag in known_tags() if tag in concerns(RAW)],
        verdict=verdict(c),
        other_settings=other_settings(c.raw, c.lightning),
        mirrored=sidebyside.mirrored(),
        only_raw=sidebyside.only_raw(),
        calls=lines_of(c.rows),
        kept=kept(),
        bookkeeping={(x.file, x.number): i for i, k in enumerate(kept()) for x in k.raw},
        parts=[(part, list(group)) for part, group in groupby(c.moments, lambda m: m.part)],
        curves={quantity: curves.draw(c.raw, c.lightning, quantity) for quantity in QUANTITIES},
        differences={tag: largest_difference(c.raw, c.lightning, tag) for tag in CURVES},
        costs=costs(),
        files=files(),
        file_totals=file_totals(),
        exhibits=exhibits(),
        bench=(bench := benched.newest()),
        claims=claims.rows(bench["result"]) if bench else [],
        has_sanity=any(row.sanity for row in c.rows),
    )


QUANTITIES = ("loss", "accuracy")


def known_tags() -> Iterable[str]:
    """The tags in the order in which a run comes to them; one that is new comes last."""
    return [*CONCERNS, *sorted(set(concerns(RAW)) - set(CONCERNS))]


def verdict(c: Comparison) -> list[tuple[str, str, str]]:
    """Rows of the first table: a key of the words, and what it is for the two runs."""
    rows: list[tuple[str, Any]] = [
        ("weights_sha256", lambda s: s["weights_sha256"]),
        ("best_weights_sha256", lambda s: s["best_weights_sha256"]),
        ("test_accuracy", lambda s: f"{s['test_accuracy']:.2%}"),
        ("test_loss", lambda s: f"{s['test_loss']:.4f}"),
        ("val_accuracy", lambda s: f"{s['val_accuracy']:.2%}"),
        ("fit_seconds", lambda s: f"{s['fit_seconds']:.2f} s"),
        ("epochs_steps", lambda s: f"{s['epochs']}, {s['global_step']}"),
        ("device", lambda s: f"{s['device']} × {s['world_size']}, {s['precision']}"),
        ("dataset", lambda s: f"{s['dataset']}, {s['seed']}"),
        ("versions", lambda s: ", ".join(f"{k} {v}" for k, v in s["versions"].items())),
        ("run_dir", lambda s: s["run_dir"]),
    ]
    summaries = c.raw.summary, c.lightning.summary
    return [(key, *(show(summary) for summary in summaries)) for key, show in rows]


def costs() -> list[tuple[str, int, int]]:
    """For each concern, the lines of code under its tag on both sides."""
    raw, lightning = concerns(RAW), concerns(LIGHTNING)
    return [(t, total(raw[t]), total(lightning.get(t, []))) for t in known_tags() if t in raw]


def file_totals() -> tuple[int, int]:
    """Lines of code of both sides without `minimal.py`, which is a program of its own."""
    counted = [(raw, other or 0) for name, raw, other, _ in files() if name != "minimal.py"]
    return sum(raw for raw, _ in counted), sum(other for _, other in counted)


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
