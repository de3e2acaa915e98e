"""What a bench says, as numbers, and as tables for the terminal and the README.

A number stands as `median (least–most)` of the repetitions. Where two programs are compared, each
repetition is compared with its own neighbour in time, and the median is that of the comparisons.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from shared.compare.ladder import RUNGS
from shared.compare.plan import SHARED
from shared.results import SIDES

Row = dict[str, Any]


class Spread(NamedTuple):
    """Median, least and most of several repetitions."""

    median: float
    least: float
    most: float

    def text(self, form: str = ",.0f") -> str:
        median, least, most = (format(value, form) for value in self)
        return f"{median} ({least}–{most})"


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def select(result: dict[str, Any], part: str, point: str, who: str) -> list[Row]:
    """The repetitions of one kind of run, in order."""
    part, point = SHARED.get((part, point), (part, point))
    rows = [r for r in result["runs"] if (r["part"], r["point"], r["who"]) == (part, point, who)]
    return sorted(rows, key=lambda row: row["repeat"])


def points(result: dict[str, Any], part: str) -> list[str]:
    """Where runs of a part stand on its axis, in order."""
    own = {row["point"] for row in result["runs"] if row["part"] == part}
    return sorted(own | {p for other, p in SHARED if other == part and own}, key=int)


def paired(ours: list[Row], theirs: list[Row], combine: Callable[[Row, Row], float]) -> Spread:
    """What `combine` makes of the runs of the same repetition."""
    others = {row["repeat"]: row for row in theirs}
    return spread([combine(r, others[r["repeat"]]) for r in ours if r["repeat"] in others])


def share(result: dict[str, Any], width: str, side: str) -> Spread:
    """The part of the limit's speed that a side reaches."""
    rows = select(result, "limit", width, side), select(result, "limit", width, "limit")
    return paired(*rows, lambda ours, limit: limit["step_us"] / ours["step_us"])


def epoch_overhead(result: dict[str, Any], part: str, point: str = "") -> Spread:
    """Milliseconds by which an epoch takes longer with Lightning."""
    raw, lightning = (select(result, part, point, side) for side in SIDES)
    return paired(raw, lightning, lambda raw, other: other["epoch_ms"] - raw["epoch_ms"])


def overhead_line(result: dict[str, Any]) -> tuple[float, float]:
    """Lightning's overhead as a straight line over the length of an epoch: milliseconds for each
    epoch, and microseconds for each step."""
    counts = points(result, "steps")
    overheads = [epoch_overhead(result, "steps", count).median for count in counts]
    line = statistics.linear_regression([int(count) for count in counts], overheads)
    return line.intercept, line.slope * 1000


def rung_us(row: Row) -> float:
    """Microseconds of a step of a rung, with its part of what comes once in an epoch."""
    return row["epoch_ms"] * 1000 / row["steps_per_epoch"]


def ladder(result: dict[str, Any]) -> list[tuple[str, str, Spread, Spread | None]]:
    """For each rung: its name, that of the rung it is compared with, microseconds of a step, and
    what it adds."""
    rows = []
    for name, rung in RUNGS.items():
        own = select(result, "ladder", "", name)
        base = rung.base if rung else ""
        added = None
        if base:
            other = select(result, "ladder", "", base)
            added = paired(own, other, lambda a, b: rung_us(a) - rung_us(b))
        rows.append((name, base, spread([rung_us(row) for row in own]), added))
    return rows


MEASURES: list[tuple[str, Callable[[Row], float | None], str]] = [
    ("µs a step", lambda r: r["step_us"], ",.0f"),
    ("images a second", lambda r: r["batch_size"] * 1e6 / r["step_us"], ",.0f"),
    ("ms an epoch, validation included", lambda r: r["epoch_ms"], ",.0f"),
    ("s from command to first step", lambda r: r["first_step_s"], ".2f"),
    ("s from command to tested model", lambda r: r["total_s"], ".2f"),
    ("MB of memory at most", lambda r: r["memory_mb"], ",.0f"),
]
RUNG_WORDS = {
    "trainer": "the bare Trainer",
    "manual": "manual optimization",
    "nvml": "without the NVML variable",
    "log": "`self.log` each step",
    "bar": "bar, refreshed each step",
    "tensorboard": "TensorBoard",
    "checkpoints": "checkpoints",
    "defaults": "all at their defaults",
    "tuned": "all, tuned",
}


def main_rows(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of both sides on each dataset."""
    parts = [p for p in ("digits", "mnist") if select(result, p, "", SIDES[0])]
    head = ["", *(f"{part}, {side}" for part in parts for side in SIDES)]
    rows = []
    for name, measure, form in MEASURES:
        cells = []
        for part in parts:
            for side in SIDES:
                values = [measure(row) for row in select(result, part, "", side)]
                cells.append("" if None in values else spread(values).text(form))
        rows.append([name, *cells])
    return head, rows


def share_rows(result: dict[str, Any]) -> list[list[str]]:
    """For each width, the share of the limit that each side reaches."""
    return [
        [f"width {width}", *(share(result, width, side).text(".1%") for side in SIDES)]
        for width in points(result, "limit")
    ]


def ladder_rows(result: dict[str, Any]) -> list[list[str]]:
    """What each rung adds, and to what."""
    if not select(result, "ladder", "", "loop"):
        return []
    return [
        [RUNG_WORDS[name], RUNG_WORDS.get(base, "a bare loop"), us.text(), added.text("+,.0f")]
        for name, base, us, added in ladder(result)
        if added is not None
    ]


def machine_line(result: dict[str, Any]) -> str:
    """The machine, in one line."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = result["settings"].get("threads") or machine["omp_num_threads"]
    given = f", {threads} threads" if threads else ""
    return f"{machine['cpu']}, {machine['cores']} cores{given}, {machine['os']}; {versions}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown; every column but the first is of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown(result: dict[str, Any], peers: dict[str, Any] | None) -> str:
    """The block of the README."""
    per_epoch, per_step = overhead_line(result)
    limits = {
        width: [share(result, width, side) for side in SIDES] for width in points(result, "limit")
    }
    head, rows = main_rows(result)
    for width, spreads in limits.items():
        cells = [s.text(".1%") for s in spreads]
        rows.append([f"of the limit's speed, width {width}", *[""] * (len(head) - 3), *cells])
    names = [row[0] for row in ladder_rows(result)]
    added = [row[3] for row in ladder_rows(result)]
    lines = [
        table(head, rows),
        "",
        table(["µs a step", *names], [["adds", *added]]),
        "",
        f"Over the length of an epoch, Lightning adds {per_epoch:.1f} ms for each epoch and "
        f"{per_step:,.0f} µs for each step.",
    ]
    if peers is not None:
        lines += ["", peers_table(peers)]
    lines += ["", f"Median (least–most) of {repeats(result)} runs. {machine_line(result)}."]
    return "\n".join(lines)


def repeats(result: dict[str, Any]) -> str:
    counts = {row["repeat"] + 1 for row in result["runs"]}
    most = max(counts)
    least = min(
        max(r["repeat"] for r in result["runs"] if r["part"] == part) + 1
        for part in {row["part"] for row in result["runs"]}
    )
    return f"{least} to {most}" if least != most else str(most)


def peers_table(peers: dict[str, Any]) -> str:
    """Seconds from the command to a tested model of 99 %, and how many times faster ours are."""
    ours = {
        side: spread([r["seconds"] for r in peers["runs"] if r["who"] == side]) for side in SIDES
    }
    rows = [
        [f"`{side}`", spread_.text(".1f"), *[""] * len(SIDES)] for side, spread_ in ours.items()
    ]
    for name in dict.fromkeys(r["who"] for r in peers["runs"] if r["who"] not in SIDES):
        theirs = [r for r in peers["runs"] if r["who"] == name]
        if any(r["seconds"] is None for r in theirs):
            best = max(r["accuracy"] or 0 for r in theirs)
            rows.append([f"`{name}`", f"not reached ({best:.2%})", *[""] * len(SIDES)])
            continue
        seconds = spread([r["seconds"] for r in theirs])
        times = [f"{seconds.median / ours[side].median:.1f}" for side in SIDES]
        rows.append([f"`{name}`", seconds.text(".1f"), *times])
    goal = f"s to {peers['goal']:.0%} on MNIST"
    return table(["", goal, *(f"times that of {side}" for side in SIDES)], rows)


def terminal(result: dict[str, Any]) -> str:
    """All tables, for the screen."""
    head, rows = main_rows(result)
    shown = [aligned([head, *rows])] if len(head) > 1 else []
    if found := share_rows(result):
        shown.append(aligned([["of the limit's speed", *SIDES], *found]))
    if found := ladder_rows(result):
        shown.append(aligned([["µs a step", "over", "in all", "adds"], *found]))
    for part in ("steps", "batch_size", "workers"):
        if points(result, part):
            shown.append(aligned([[f"{part}", *SIDES, "ms an epoch more"], *growth(result, part)]))
    if points(result, "steps"):
        per_epoch, per_step = overhead_line(result)
        shown.append(f"{per_epoch:.1f} ms for each epoch and {per_step:.0f} µs for each step more")
    return "\n\n".join([*shown, machine_line(result)])


def growth(result: dict[str, Any], part: str) -> list[list[str]]:
    """For each point of an axis, microseconds of a step on both sides, and what an epoch takes
    longer with Lightning."""
    rows = []
    for point in points(result, part):
        groups = [select(result, part, point, side) for side in SIDES]
        if all(groups):
            cells = [spread([r["step_us"] for r in group]).text() for group in groups]
            rows.append([point, *cells, epoch_overhead(result, part, point).text(",.1f")])
    return rows


def aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def read(path: Path) -> dict[str, Any] | None:
    """A result, or None where there is none."""
    return json.loads(path.read_text()) if path.is_file() else None
