"""What a bench says, as tables for the terminal, the page and the READMEs. A number stands as
`median (least–most)` of the repetitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shared.bench.results import BenchResult, BenchRun, PeerResult
from shared.bench.spreads import (
    epoch_overhead,
    overhead_line,
    points,
    rung_times,
    select,
    share,
    spread,
)
from shared.bench.words import say
from shared.compare.source.lines import file_totals, files
from shared.files import SIDES
from shared.reporting.markdown import table

# For each row of the first table: its key in words.yaml, the number, and how it is written.
MEASURES: list[tuple[str, Callable[[BenchRun], float | None], str]] = [
    ("step us", lambda r: r["step_us"], ",.0f"),
    ("images a second", lambda r: r["batch_size"] * 1e6 / r["step_us"], ",.0f"),
    ("epoch ms", lambda r: r["epoch_ms"], ",.0f"),
    ("first step s", lambda r: r["first_step_s"], ".2f"),
    ("whole s", lambda r: r["total_s"], ".2f"),
    ("memory mb", lambda r: r["memory_mb"], ",.0f"),
]


def main_rows(result: BenchResult) -> tuple[list[str], list[list[str]]]:
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
                runs = select(result, part, "", side)
                values = [value for run in runs if (value := measure(run)) is not None]
                cells.append(spread(values).text(form) if len(values) == len(runs) else "")
        if any(cells):
            rows.append([key, *cells])
    return parts, rows


def share_rows(result: BenchResult) -> list[list[str]]:
    """For each width, the share of the limit's speed that each side reaches."""
    return [
        [width, *(share(result, width, side).text(".1%") for side in SIDES)]
        for width in points(result, "limit")
    ]


def ladder_rows(result: BenchResult) -> list[list[str]]:
    """For each rung: its key in words.yaml, that of the rung below, microseconds of a step, and
    what it adds."""
    if not select(result, "ladder", "", "loop"):
        return []
    return [
        [f"rung {name}", f"rung {base}", us.text(), added.text("+,.0f")]
        for name, base, us, added in rung_times(result)
        if added is not None
    ]


def machine_line(result: BenchResult | PeerResult) -> str:
    """The machine, in one line."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    used = f"{result['settings']['threads']} of {machine['cores']} cores"
    return f"{machine['cpu']}, {used}, {machine['os']}; {versions}"


def bench_block(result: BenchResult, peers: PeerResult | None, code: str = "en") -> str:
    """The block of shared/bench/README.md: both sides, the ladder, and the machine.

    Args:
        code: the language, en or zh.
    """
    word = partial(say, code=code)
    head, rows = main_table(result, code)
    empty = [""] * (len(head) - 3)
    if shares := share_rows(result):
        widths = ", ".join(width for width, *_ in shares)
        medians = [", ".join(row[i].split(" ")[0] for row in shares) for i in (1, 2)]
        rows.append([f"{word('of the limit')} {widths}", *empty, *medians])
    where = machine_line(result)
    if peers is not None:
        ours, *others = peer_rows(peers, code)
        whole = next(row for row in rows if row[0] == word("whole s"))
        goal = f"{peers['goal']:.0%}"
        whole[-2:] = [word("peers right", seconds=cell, goal=goal) for cell in ours[1:]]
        rows += [[name, *empty, *cells] for name, *cells in others]
        if peers["machine"] != result["machine"]:
            where += word("peers on", machine=machine_line(peers))
    rungs = [(word(a), word(b), added) for a, b, _, added in ladder_rows(result)]
    names, below, added = map(list, zip(*rungs, strict=True))
    steps = [[word("rung adds"), *added], [word("rung over"), *below]]
    per_epoch, per_step = overhead_line(result)
    adds = word("bench adds", epoch=f"{per_epoch:.1f}", step=f"{per_step:,.0f}")
    lines = [
        table(head, rows, "l" + "r" * (len(head) - 1)),
        "",
        table([word("step us"), *names], steps, "l" + "r" * len(names)),
        "",
        f"{adds}{word('bench where', repeats=repeats(result), machine=where)}",
    ]
    return "\n".join(lines)


# The rows of the first table that the README shows.
COSTS = ("step us", "first step s", "memory mb")


def cost_block(result: BenchResult, code: str = "en") -> str:
    """The block of the README about what Lightning costs: lines of code, medians on MNIST, and
    under which conditions they were measured.

    Args:
        code: the language, en or zh.
    """
    word = partial(say, code=code)
    parts, measured = main_rows(result)
    mnist = 2 * parts.index("mnist")
    _, *shares = share_rows(result)[0]  # of the width that is the default
    rows = [
        *([word(key), *counts] for key, *counts in line_rows()),
        *([word(key), *cells[mnist : mnist + 2]] for key, *cells in measured if key in COSTS),
        [word("share of the limit"), *shares],
    ]
    rows = [[name, *(cell.split(" ")[0] for cell in cells)] for name, *cells in rows]
    cpu, cores = result["machine"]["cpu"], str(result["machine"]["cores"])
    used = str(result["settings"]["threads"])
    where = word("cost where", repeats=repeats(result), cpu=cpu, used=used, cores=cores)
    return f"{table(['', *SIDES], rows, 'lrr')}\n\n{where}"


def line_rows() -> list[list[str]]:
    """For each rung a key of words.yaml and the lines of code of both sides; apart from them, the
    lines that only read and write Lightning's checkpoints."""
    by_name = {file.name: file for file in files()}
    rows = [
        (name, by_name[name].raw, by_name[name].lightning) for name in ("minimal.py", "basic.py")
    ]
    rows += [("full program", *file_totals()), ("format", by_name["lightning_format.py"].raw, None)]
    return [
        [f"lines {name}", *("–" if count is None else str(count) for count in counts)]
        for name, *counts in rows
    ]


def repeats(result: BenchResult) -> str:
    """How often the runs of a part were repeated: least and most."""
    counts: dict[str, int] = {}
    for run in result["runs"]:
        counts[run["part"]] = max(counts.get(run["part"], 0), run["repeat"] + 1)
    least, most = min(counts.values()), max(counts.values())
    return f"{least}–{most}" if least != most else str(most)


def peer_rows(peers: PeerResult, code: str = "en") -> list[list[str]]:
    """Seconds from the command to a tested model of both sides, and how many times faster they are
    than each of the others: a name and two cells for each row."""
    ours = [spread(_seconds(peers, side)) for side in SIDES]
    goal = say("peers goal", code, goal=f"{peers['goal']:.0%}")
    rows = [[goal, *(own.text(".1f") for own in ours)]]
    for name in dict.fromkeys(r["who"] for r in peers["runs"] if r["who"] not in SIDES):
        theirs = [r for r in peers["runs"] if r["who"] == name]
        if any(r["seconds"] is None for r in theirs):
            best = max(r["accuracy"] or 0.0 for r in theirs)
            rows.append([say("peers poor", code, name=name, best=f"{best:.2%}"), "–", "–"])
            continue
        seconds = spread(_seconds(peers, name))
        times = [f"{seconds.median / own.median:.1f} ×" for own in ours]
        label = say("peers fast", code, name=name, seconds=f"{seconds.median:.0f}")
        rows.append([label, *times])
    return rows


def _seconds(peers: PeerResult, who: str) -> list[float]:
    """Of the runs that reached the goal."""
    seconds = [run["seconds"] for run in peers["runs"] if run["who"] == who]
    return [value for value in seconds if value is not None]


def peers_table(peers: PeerResult) -> str:
    """The same as a table for the screen."""
    return aligned([["", *SIDES], *peer_rows(peers)])


def main_table(result: BenchResult, code: str = "en") -> tuple[list[str], list[list[str]]]:
    """The first table in words."""
    parts, rows = main_rows(result)
    head = ["", *(f"{part}, {side}" for part in parts for side in SIDES)]
    return head, [[say(key, code), *cells] for key, *cells in rows]


def terminal(result: BenchResult) -> str:
    """All tables, for the screen."""
    head, rows = main_table(result)
    shown = [aligned([head, *rows])] if rows else []
    if found := share_rows(result):
        shown.append(aligned([[say("of the limit"), *SIDES], *found]))
    if found := [[say(key), say(base), *cells] for key, base, *cells in ladder_rows(result)]:
        head = [say(key) for key in ("step us", "rung over", "rung all", "rung adds")]
        shown.append(aligned([head, *found]))
    for part in ("steps", "batch_size", "workers"):
        if points(result, part):
            shown.append(aligned([[f"{part}", *SIDES, "ms an epoch more"], *growth(result, part)]))
    if points(result, "steps"):
        per_epoch, per_step = overhead_line(result)
        shown.append(f"{per_epoch:.1f} ms for each epoch and {per_step:.0f} µs for each step more")
    return "\n\n".join([*shown, machine_line(result)])


def growth(result: BenchResult, part: str) -> list[list[str]]:
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
