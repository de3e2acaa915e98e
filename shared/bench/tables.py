"""What a bench says, as numbers, and as tables for the terminal and the README.

A number stands as `median (least–most)` of the repetitions. Where two programs are compared, each
repetition is compared with its own neighbour in time, and the median is that of the comparisons.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from shared.bench.ladder import RUNGS
from shared.bench.plan import SHARED
from shared.compare.page.words import english, words
from shared.files import SIDES

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


# For each row of the first table: its key in words.yaml, the number, and how it is written.
MEASURES: list[tuple[str, Callable[[Row], float | None], str]] = [
    ("step us", lambda r: r["step_us"], ",.0f"),
    ("images a second", lambda r: r["batch_size"] * 1e6 / r["step_us"], ",.0f"),
    ("epoch ms", lambda r: r["epoch_ms"], ",.0f"),
    ("first step s", lambda r: r["first_step_s"], ".2f"),
    ("whole s", lambda r: r["total_s"], ".2f"),
    ("memory mb", lambda r: r["memory_mb"], ",.0f"),
]


def main_rows(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table of both sides on each dataset.

    Returns:
        The datasets that were measured; and for each row a key of words.yaml and two cells for each
        dataset, raw and Lightning.
    """
    parts = [p for p in ("digits", "mnist") if select(result, p, "", SIDES[0])]
    rows = []
    for key, measure, form in MEASURES:
        cells = []
        for part in parts:
            for side in SIDES:
                values = [measure(row) for row in select(result, part, "", side)]
                cells.append("" if None in values else spread(values).text(form))
        if any(cells):
            rows.append([key, *cells])
    return parts, rows


def share_rows(result: dict[str, Any]) -> list[list[str]]:
    """For each width, the share of the limit's speed that each side reaches."""
    return [
        [width, *(share(result, width, side).text(".1%") for side in SIDES)]
        for width in points(result, "limit")
    ]


def ladder_rows(result: dict[str, Any]) -> list[list[str]]:
    """For each rung: its key in words.yaml, that of the rung below, microseconds of a step, and
    what it adds."""
    if not select(result, "ladder", "", "loop"):
        return []
    return [
        [f"rung {name}", f"rung {base}", us.text(), added.text("+,.0f")]
        for name, base, us, added in ladder(result)
        if added is not None
    ]


def machine_line(result: dict[str, Any]) -> str:
    """The machine, in one line."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = result["settings"]["threads"]
    used = f"{threads} of {machine['cores']} cores"
    return f"{machine['cpu']}, {used}, {machine['os']}; {versions}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown; every column but the first is of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown(result: dict[str, Any], peers: dict[str, Any] | None, code: str = "en") -> str:
    """The block of the README: one table of both sides, one of the ladder, and where it was.

    Args:
        code: the language, en or zh.
    """
    say = partial(word, code=code)
    head, rows = main_table(result, code)
    if shares := share_rows(result):
        widths = ", ".join(width for width, *_ in shares)
        medians = [", ".join(row[i].split(" ")[0] for row in shares) for i in (1, 2)]
        rows.append([f"{say('of the limit')} {widths}", *[""] * (len(head) - 3), *medians])
    where = machine_line(result)
    if peers is not None:
        ours, *others = peer_rows(peers, code)
        whole = next(row for row in rows if row[0] == say("whole s"))
        goal = f"{peers['goal']:.0%}"
        whole[-2:] = [say("peers right", seconds=cell, goal=goal) for cell in ours[1:]]
        rows += [[name, *[""] * (len(head) - 3), *cells] for name, *cells in others]
        if peers["machine"] != result["machine"]:
            where += say("peers on", machine=machine_line(peers))
    rungs = [(say(a), say(b), added) for a, b, _, added in ladder_rows(result)]
    names, below, added = map(list, zip(*rungs, strict=True))
    per_epoch, per_step = overhead_line(result)
    adds = say("bench adds", epoch=f"{per_epoch:.1f}", step=f"{per_step:,.0f}")
    lines = [
        table(head, rows),
        "",
        table([say("step us"), *names], [[say("rung adds"), *added], [say("rung over"), *below]]),
        "",
        f"{adds}{say('bench where', repeats=repeats(result), machine=where)}",
    ]
    return "\n".join(lines)


def word(key: str, code: str, **values: str) -> str:
    """An entry of words.yaml in a language, with values in the place of the names in braces."""
    return words()[key][code].format(**values)


def repeats(result: dict[str, Any]) -> str:
    """How often the runs of a part were repeated: least and most."""
    counts = {row["repeat"] + 1 for row in result["runs"]}
    most = max(counts)
    least = min(
        max(r["repeat"] for r in result["runs"] if r["part"] == part) + 1
        for part in {row["part"] for row in result["runs"]}
    )
    return f"{least}–{most}" if least != most else str(most)


def peer_rows(peers: dict[str, Any], code: str = "en") -> list[list[str]]:
    """Seconds from the command to a tested model of both sides, and how many times faster they are
    than each of the others: a name and two cells for each row."""
    ours = [spread([r["seconds"] for r in peers["runs"] if r["who"] == side]) for side in SIDES]
    goal = word("peers goal", code, goal=f"{peers['goal']:.0%}")
    rows = [[goal, *(own.text(".1f") for own in ours)]]
    for name in dict.fromkeys(r["who"] for r in peers["runs"] if r["who"] not in SIDES):
        theirs = [r for r in peers["runs"] if r["who"] == name]
        if any(r["seconds"] is None for r in theirs):
            best = max(r["accuracy"] or 0 for r in theirs)
            rows.append([word("peers poor", code, name=name, best=f"{best:.2%}"), "–", "–"])
            continue
        seconds = spread([r["seconds"] for r in theirs])
        times = [f"{seconds.median / own.median:.1f} ×" for own in ours]
        label = word("peers fast", code, name=name, seconds=f"{seconds.median:.0f}")
        rows.append([label, *times])
    return rows


def peers_table(peers: dict[str, Any]) -> str:
    """The same as a table for the screen."""
    return aligned([["", *SIDES], *peer_rows(peers)])


def main_table(result: dict[str, Any], code: str = "en") -> tuple[list[str], list[list[str]]]:
    """The first table in words."""
    parts, rows = main_rows(result)
    head = ["", *(f"{part}, {side}" for part in parts for side in SIDES)]
    return head, [[word(key, code), *cells] for key, *cells in rows]


def terminal(result: dict[str, Any]) -> str:
    """All tables, for the screen."""
    head, rows = main_table(result)
    shown = [aligned([head, *rows])] if rows else []
    if found := share_rows(result):
        shown.append(aligned([[english("of the limit"), *SIDES], *found]))
    if found := [
        [english(key), english(base), *cells] for key, base, *cells in ladder_rows(result)
    ]:
        head = [english(key) for key in ("step us", "rung over", "rung all", "rung adds")]
        shown.append(aligned([head, *found]))
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
