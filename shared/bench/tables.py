"""What a bench says, as rows of tables. A number stands as `median (least–most)`, see `spread`."""

from __future__ import annotations

from shared.bench.plan import BARE
from shared.bench.results import BenchResult, PeerResult
from shared.bench.spreads import (
    EPOCH,
    GROWTH,
    Measure,
    Spread,
    epoch_overhead,
    line,
    measured,
    number,
    overhead_line,
    paired,
    points,
    ratio,
    rung_times,
    select,
    share,
    spread,
)
from shared.bench.words import say
from shared.compare.source.lines import file_totals, files
from shared.files import SIDES

STEP: Measure = lambda run: run["step_us"]  # noqa: E731
CPU: Measure = lambda run: run["start_cpu_s"]  # noqa: E731
START: Measure = lambda run: run["start_s"]  # noqa: E731
WHOLE: Measure = lambda run: run["total_s"]  # noqa: E731
FIT: Measure = lambda run: run["fit_s"]  # noqa: E731
MEMORY: Measure = lambda run: run["memory_mb"]  # noqa: E731

# For each row of the table of both datasets: its key in words.yaml, the number, and its form.
MEASURES: list[tuple[str, Measure, str]] = [
    ("step us", STEP, ",.0f"),
    ("images a second", lambda r: r["fit_s"] and r["images"] * r["epochs"] / r["fit_s"], ",.0f"),
    ("epoch ms", EPOCH, ",.0f"),
    ("first step s", START, ".2f"),
    ("whole s", WHOLE, ".2f"),
    ("memory mb", MEMORY, ",.0f"),
]
GOAL = 0.99


def main_rows(result: BenchResult) -> tuple[list[str], list[list[str]]]:
    """The table of both sides on each dataset.

    Returns:
        The datasets that were measured; and for each row a key of words.yaml and two cells for each
        dataset, raw and Lightning.
    """
    parts = [p for p in ("digits", "mnist") if select(result, p, "", SIDES[0])]
    rows = []
    for key, measure, form in MEASURES:
        found = [measured(result, part, "", side, measure) for part in parts for side in SIDES]
        cells = ["" if cell is None else cell.text(form) for cell in found]
        if any(cells):
            rows.append([key, *cells])
    return parts, rows


def quick_rows(result: BenchResult, code: str = "en") -> list[list[str]]:
    """The first table: a name, raw, Lightning, and how many times as much Lightning takes."""
    rows = [
        ("start cpu s", "start", CPU, ".2f"),
        ("first step s", "start", START, ".2f"),
        ("step us", "mnist", STEP, ",.0f"),
        ("epoch ms", "mnist", EPOCH, ",.0f"),
        ("goal s", "mnist", WHOLE, ".1f"),
        ("memory mb", "mnist", MEMORY, ",.0f"),
    ]
    shown = []
    for key, part, measure, form in rows:
        found = [measured(result, part, "", side, measure) for side in SIDES]
        cells = [spread_.text(form) for spread_ in found if spread_ is not None]
        right = [run["test_accuracy"] or 0.0 for run in result["runs"] if run["part"] == part]
        if len(cells) < len(SIDES) or (key == "goal s" and min(right) < GOAL):
            continue
        times = ratio(result, part, "", SIDES[1], SIDES[0], measure)
        shown.append([say(key, code, goal=f"{GOAL:.0%}"), *cells, times_text(times, code)])
    return shown


def times_text(times: Spread, code: str = "en") -> str:
    """How many times as much, or that no difference was measured where the range holds one."""
    if times.least <= 1 <= times.most:
        return say("no difference", code)
    return f"{times.text('.2f')} ×"


def start_rows(result: BenchResult, code: str = "en") -> list[list[str]]:
    """From the command to the first step, beside what is bare: a name, seconds of the CPU and of
    the clock, and how many times as much CPU as a bare import, and as a bare step."""
    if not select(result, "start", "", SIDES[0]):
        return []
    torch, optimizer, lightning = BARE
    rows = []
    for who, bases in (
        (torch, ()),
        (optimizer, (torch,)),
        (SIDES[0], (torch, optimizer)),
        (lightning, (torch,)),
        (SIDES[1], (lightning,)),
    ):
        seconds = [measured(result, "start", "", who, measure) for measure in (CPU, START)]
        over = [(base, ratio(result, "start", "", who, base, CPU).text(".2f")) for base in bases]
        beside = "; ".join(f"{cell} × {say(f'bare {base}', code)}" for base, cell in over)
        name = who if who in SIDES else say(f"bare {who}", code)
        rows.append([name, *(cell.text(".2f") if cell else "" for cell in seconds), beside])
    return rows


def thread_rows(result: BenchResult, code: str = "en") -> list[list[str]]:
    """One run alone and two beside each other: where, which side, seconds to fit with one thread
    and with two, and how many times as long two take."""
    rows = []
    for part in ("alone", "beside"):
        for side in SIDES:
            one, two = (select(result, part, count, side) for count in ("1", "2"))
            if one and two:
                seconds = [spread([number(run, FIT) for run in runs]) for runs in (one, two)]
                times = paired(two, one, lambda a, b: number(a, FIT) / number(b, FIT))
                cells = [cell.text(".2f") for cell in seconds]
                rows.append([say(part, code), side, *cells, times_text(times, code)])
    return rows


def memory_rows(result: BenchResult, code: str = "en") -> list[list[str]]:
    """Megabytes at the most of a run and of one that lasts twice as long: what ran, and both
    sides."""
    rows = []
    for part, point in (("alone", "1"), ("digits", "")):
        found = [measured(result, part, point, side, MEMORY) for side in SIDES]
        cells = [cell.text() for cell in found if cell is not None]
        if len(cells) == len(SIDES):
            epochs = str(select(result, part, point, SIDES[0])[0]["epochs"])
            rows.append([say("memory epochs", code, epochs=epochs), *cells])
    return rows


def growth_rows(result: BenchResult, code: str = "en") -> list[list[str]]:
    """For each axis: what grows with what, and for both sides the straight line."""
    rows = []
    for part in GROWTH:
        lines = [line(result, part, side) for side in SIDES]
        cells = [
            f"{found.at_nothing:,.2f} + {found.each:,.3f} × n (±{found.farthest:.0%})"
            for found in lines
            if found is not None
        ]
        if len(cells) == len(SIDES):
            at = ", ".join(points(result, part))
            rows.append([say(f"grows {part}", code, at=at), *cells])
    return rows


def profile_rows(result: BenchResult) -> list[list[str]]:
    """Functions of Lightning: where, calls in a step, and their share of what Lightning takes."""
    if result["profile"] is None:
        return []
    return [
        [f"`{function['where']}`", f"{function['calls']:g}", f"{function['share']:.0%}"]
        for function in result["profile"]["functions"]
    ]


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
        for name, base, us, added, _ in rung_times(result)
        if added is not None
    ]


def machine_line(result: BenchResult | PeerResult) -> str:
    """The machine, in one line."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    used = f"{result['settings']['threads']} of {machine['cores']} cores"
    return f"{machine['cpu']}, {used}, {machine['os']}; {versions}"


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
    ours = {
        threads: [spread(_seconds(peers, side, threads)) for side in SIDES]
        for threads in sorted({run["threads"] for run in peers["runs"] if run["threads"]})
    }
    rows = []
    for threads, seconds in ours.items():
        goal = say("peers goal", code, goal=f"{peers['goal']:.0%}", threads=str(threads))
        rows.append([goal, *(own.text(".1f") for own in seconds)])
    for name in dict.fromkeys(r["who"] for r in peers["runs"] if r["who"] not in SIDES):
        theirs = [r for r in peers["runs"] if r["who"] == name]
        if any(r["seconds"] is None for r in theirs):
            best = max(r["accuracy"] or 0.0 for r in theirs)
            rows.append([say("peers poor", code, name=name, best=f"{best:.2%}"), "–", "–"])
            continue
        median = spread(_seconds(peers, name, None)).median
        for threads, seconds in ours.items():
            values = {"name": name, "seconds": f"{median:.0f}", "threads": str(threads)}
            label = say("peers fast", code, **values)
            rows.append([label, *(f"{median / own.median:.1f} ×" for own in seconds)])
    return rows


def _seconds(peers: PeerResult, who: str, threads: int | None) -> list[float]:
    """Of the runs that reached the goal."""
    runs = [run for run in peers["runs"] if (run["who"], run["threads"]) == (who, threads)]
    return [run["seconds"] for run in runs if run["seconds"] is not None]


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
    shown = []
    if found := quick_rows(result):
        shown.append(aligned([["", *SIDES, say("times as much")], *found]))
    if found := start_rows(result):
        heads = [say(key) for key in ("start", "start cpu s", "clock s", "beside bare")]
        shown.append(aligned([heads, *found]))
    if rows:
        shown.append(aligned([head, *rows]))
    if found := thread_rows(result):
        heads = ["", "", *(say(key) for key in ("one thread", "two threads", "two over one"))]
        shown.append(aligned([heads, *found]))
    if found := share_rows(result):
        shown.append(aligned([[say("of the limit"), *SIDES], *found]))
    if found := [[say(key), say(base), *cells] for key, base, *cells in ladder_rows(result)]:
        heads = [say(key) for key in ("step us", "rung over", "rung all", "rung adds")]
        shown.append(aligned([heads, *found]))
    if found := profile_rows(result):
        shown.append(aligned([[say(key) for key in ("function", "calls", "share")], *found]))
    if found := growth_rows(result):
        shown.append(aligned([[say("grows"), *SIDES], *found]))
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
            cells = [spread([number(r, STEP) for r in group]).text() for group in groups]
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
