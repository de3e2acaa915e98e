"""The same verdict and tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap

from shared.compare.comparison import ComparedRuns, costs, outcomes
from shared.compare.runs import CURVES, largest_difference, other_settings
from shared.compare.source.lines import file_totals
from shared.compare.trace.where import Line, Row
from shared.compare.words import english

WIDTH = 80


def tables(c: ComparedRuns) -> str:
    """The tables, each line at most 80 columns wide unless a run's own folder is longer."""
    lines = ["", english("equal" if c.equal else "different")]
    if others := other_settings(c.raw, c.lightning):
        lines.append("they differ in   " + " ".join(f"--{name}" for name in others))
    lines.append("")
    for key, ours, theirs in outcomes(c):
        name = {"weights_sha256": "weights", "best_weights_sha256": "best weights"}.get(
            key, english(key)
        )
        if key == "versions":
            for text in dict.fromkeys((ours, theirs)):
                lines += textwrap.wrap(
                    text, WIDTH, initial_indent=f"{name:28}", subsequent_indent=" " * 28
                )
        elif ours == theirs:
            lines.append(f"{name:14}  {ours}" if len(ours) == 64 else f"{name:28}{ours}")
        elif len(ours) > 25:
            lines += [f"{name:14}  {ours}", f"{'':14}  {theirs}"]
        else:
            lines.append(f"{name:28}{ours:26}{theirs}")
    for tag in CURVES:
        if found := largest_difference(c.raw, c.lightning, tag):
            size, points = found
            said = f"differs by at most {size:.3g}" if size else "equal"
            lines.append(f"{tag:28}{said} at {points} points")
    lines += ["", *_costs(c), "", *_where(c.rows)]
    return "\n".join(lines)


def _costs(c: ComparedRuns) -> list[str]:
    head = f"{'lines of code':28}{'raw_pytorch':>12}{'lightning':>12}"
    rows = [(tag, str(ours), str(theirs)) for tag, ours, theirs in costs()]
    raw_total, lightning_total = file_totals()
    rows.append((english("total"), str(raw_total), str(lightning_total)))
    steps = [f"{run.seconds_per_step * 1000:.2f} ms" for run in (c.raw, c.lightning)]
    rows.append(("time per step", steps[0], steps[1]))
    if c.raw.memory and c.lightning.memory:
        peaks = [f"{memory / 1e6:.0f} MB" for memory in (c.raw.memory, c.lightning.memory)]
        rows.append(("most memory", peaks[0], peaks[1]))
    return [head, *(f"{name:28}{ours:>12}{theirs:>12}" for name, ours, theirs in rows)]


def _where(rows: list[Row]) -> list[str]:
    lines = [f"{'where did the line go':26}{'by hand':>18}{'':9}with Lightning"]
    for row in rows:
        if row.raw and row.lightning:
            counts = f"{row.raw_count}:{row.lightning_count}"
            theirs = max(row.lightning, key=lambda site: site.count)
            name = _fitted(row.operation.name, 26)
            lines.append(
                f"{name:26}{_short(row.raw[0].line, 18):>18} {counts:^7} {_short(theirs.line, 27)}"
            )
    return lines


def _short(line: Line, width: int) -> str:
    """The end of `folder/file.py:12`, as much as fits."""
    return _fitted(f"{line.file.split('/', 1)[1]}:{line.number}", width)


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-(width - 1) :]
