"""What `make compare` says in a terminal of 80 columns: the verdict and three lines, and the tables
if they are asked for."""

from __future__ import annotations

import textwrap

from shared.compare.comparison import ComparedRuns, costs, outcomes
from shared.compare.runs import CURVES, largest_difference, other_settings
from shared.compare.source.lines import file_totals
from shared.compare.trace.where import Line
from shared.compare.words import english

WIDTH = 80


def verdict(c: ComparedRuns) -> str:
    """Whether both runs ended with the same weights, what each of them is, and the code of both."""
    lines = [english("equal" if c.equal else "different")]
    if others := other_settings(c.raw, c.lightning):
        lines.append("They differ in " + " ".join(f"--{name}" for name in others))
    for run in (c.raw, c.lightning):
        s = run.summary
        said = f"test accuracy {s['test_accuracy']:.2%}, weights {s['weights_sha256'][:8]}"
        lines.append(f"{s['implementation']:13} {said}, {run.folder}")
    raw, lightning = file_totals()
    lines.append(f"{'lines of code':13} {raw} by hand, {lightning} with Lightning")
    return "\n".join(lines)


def tables(c: ComparedRuns) -> str:
    """The tables, each line at most 80 columns wide unless a run's own folder is longer."""
    lines = []
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
    lines += ["", f"{english('cost'):28}{'raw_pytorch':>12}{'lightning':>12}"]
    for tag, raw, lightning in [*costs(), (english("total"), *file_totals())]:
        lines.append(f"{tag:28}{raw:>12}{lightning:>12}")
    return "\n".join([*lines, "", *_where(c)])


def _where(c: ComparedRuns) -> list[str]:
    lines = [f"{english('operations'):26}{'by hand':>24}  with Lightning"]
    for answer in c.answers:
        if answer.kind and answer.line.file.endswith("/train.py"):
            name = _fitted(answer.name, 26)
            lines.append(f"{name:26}{_short(answer.by_hand, 24):>24}  {_short(answer.place, 28)}")
    return lines


def _short(line: Line, width: int) -> str:
    """The end of `folder/file.py:12`, as much as fits."""
    return _fitted(line.place.split("/", 1)[1], width)


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-(width - 1) :]
