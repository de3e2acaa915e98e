"""What a bench says, as the generated blocks of the READMEs, in both languages."""

from __future__ import annotations

from functools import partial

from shared.bench.claims import claims_block
from shared.bench.plan import BARE
from shared.bench.results import BenchResult, PeerResult
from shared.bench.spreads import (
    RungTimes,
    measured,
    overhead_line,
    points,
    ratio,
    rung_times,
    select,
)
from shared.bench.tables import (
    CPU,
    growth_rows,
    line_rows,
    machine_line,
    main_rows,
    main_table,
    memory_rows,
    peer_rows,
    profile_rows,
    quick_rows,
    repeats,
    share_rows,
    start_rows,
    thread_rows,
)
from shared.bench.words import say
from shared.files import SIDES
from shared.reporting.markdown import table

# The rows of the table of both datasets that the README shows.
COSTS = ("step us", "first step s", "memory mb")


def quick_block(result: BenchResult, code: str) -> str:
    """The block of shared/bench/README.md that answers first, and the machine."""
    word = partial(say, code=code)
    machine = machine_line(result)
    where = word("bench where", repeats=repeats(result), machine=machine, date=result["date"])
    rows = quick_rows(result, code)
    return f"{table(['', *SIDES, word('times as much')], rows, 'lrrr')}\n\n{where}"


def start_block(result: BenchResult, code: str) -> str:
    """From the command to the first step."""
    head = [say(key, code) for key in ("start", "start cpu s", "clock s", "beside bare")]
    return filled(head, start_rows(result, code), "lrrl")


def bench_block(result: BenchResult, peers: PeerResult | None, code: str = "en") -> str:
    """Both sides on both datasets, beside the limit and the programs of others."""
    word = partial(say, code=code)
    head, rows = main_table(result, code)
    empty = [""] * (len(head) - 3)
    if shares := share_rows(result):
        widths = ", ".join(width for width, *_ in shares)
        medians = [", ".join(row[i].split(" ")[0] for row in shares) for i in (1, 2)]
        rows.append([f"{word('of the limit')} {widths}", *empty, *medians])
    text = ""
    if peers is not None:
        rows += [[name, *empty, *cells] for name, *cells in peer_rows(peers, code)]
        if peers["machine"] != result["machine"]:
            text = f"\n\n{word('peers on', machine=machine_line(peers))}"
    return table(head, rows, "l" + "r" * (len(head) - 1)) + text


def thread_block(result: BenchResult, code: str) -> str:
    """One run alone and two beside each other, with one thread and with two."""
    head = ["", "", *(say(key, code) for key in ("one thread", "two threads", "two over one"))]
    return filled(head, thread_rows(result, code), "llrrr")


def ladder_block(result: BenchResult, code: str) -> str:
    """Each rung, and the line of what Lightning adds to an epoch and to a step."""
    if not select(result, "ladder", "", "loop") or not points(result, "steps"):
        return ""
    word = partial(say, code=code)
    rows = []
    for rung in rung_times(result):
        if rung.added is not None:
            base = word(f"rung {rung.base}")
            added, whole = rung.added.text("+,.0f"), rung.over_loop.text("+,.0f")
            rows.append([word(f"rung {rung.name}"), base, added_text(rung, added, code), whole])
    head = [word(key) for key in ("rung", "rung over", "rung adds us", "rung whole us")]
    per_epoch, per_step = overhead_line(result)
    adds = word("bench adds", epoch=f"{per_epoch:.1f}", step=f"{per_step:,.0f}")
    return f"{table(head, rows, 'llrr')}\n\n{adds}"


def added_text(rung: RungTimes, text: str, code: str) -> str:
    """What a rung adds, or that no difference was measured where the range holds zero."""
    if rung.added is not None and rung.added.least <= 0 <= rung.added.most:
        return f"{say('no difference', code)}{say('colon', code)}{text}"
    return text


def profile_block(result: BenchResult, code: str) -> str:
    """Where in Lightning's source a step's time goes."""
    head = [say(key, code) for key in ("function", "calls", "share")]
    return filled(head, profile_rows(result), "lrr")


def found_block(result: BenchResult, code: str) -> str:
    """What could be better in the libraries themselves, with its numbers and its lines."""
    is_whole = select(result, "start", "", SIDES[0]) and select(result, "ladder", "", "loop")
    if result["profile"] is None or not is_whole:
        return ""
    torch, optimizer, lightning = BARE
    seconds = {who: measured(result, "start", "", who, CPU) for who in BARE}
    rungs = {rung.name: rung.added for rung in rung_times(result) if rung.added}
    values = {f"{who}_s": f"{cell.median:.1f}" for who, cell in seconds.items() if cell}
    values |= {f"{name}_us": added.text("+,.0f") for name, added in rungs.items()}
    values |= {name: f"`{place}`" for name, place in result["profile"]["places"].items()}
    values["lightning_times"] = ratio(result, "start", "", lightning, torch, CPU).text(".1f")
    values["optimizer_times"] = ratio(result, "start", "", optimizer, torch, CPU).text(".1f")
    for function in result["profile"]["functions"]:
        if function["where"].endswith(" _call_lightning_module_hook"):
            values["hook_calls"] = f"{function['calls']:.0f}"
            values["hook_share"] = f"{function['share']:.0%}"
    keys = ["import", "driver", "log", "metric", "compiler"]
    if "hook_calls" in values:
        keys.insert(-1, "name")
    return "\n".join(f"- {say(f'found {key}', code, **values)}" for key in keys)


def growth_block(result: BenchResult, code: str) -> str:
    """How time grows along each axis, as straight lines; and that memory does not."""
    head = [say("grows", code), *SIDES]
    memory = [say("memory mb", code), *SIDES]
    tables = [
        filled(head, growth_rows(result, code), "lrr"),
        filled(memory, memory_rows(result, code), "lrr"),
    ]
    return "\n\n".join(filter(None, tables))


def filled(head: list[str], rows: list[list[str]], align: str) -> str:
    """A table, or nothing where it has no rows."""
    return table(head, rows, align) if rows else ""


def cost_block(result: BenchResult, code: str = "en") -> str:
    """The block of the README about what Lightning costs: lines of code, medians on MNIST, and
    under which conditions they were measured.

    Args:
        code: the language, en or zh.
    """
    word = partial(say, code=code)
    parts, found = main_rows(result)
    mnist = 2 * parts.index("mnist")
    _, *shares = share_rows(result)[0]  # of the width that is the default
    rows = [
        *([word(key), *counts] for key, *counts in line_rows()),
        *([word(key), *cells[mnist : mnist + 2]] for key, *cells in found if key in COSTS),
        [word("share of the limit"), *shares],
    ]
    rows = [[name, *(cell.split(" ")[0] for cell in cells)] for name, *cells in rows]
    cpu, cores = result["machine"]["cpu"], str(result["machine"]["cores"])
    used = str(result["settings"]["threads"])
    runs = str(len(select(result, "mnist", "", SIDES[0])))
    where = word("cost where", repeats=runs, cpu=cpu, used=used, cores=cores, date=result["date"])
    return f"{table(['', *SIDES], rows, 'lrr')}\n\n{where}"


def bench_blocks(result: BenchResult, peers: PeerResult | None, code: str = "en") -> dict[str, str]:
    """All blocks by name; of a part that was not measured, a line that says so."""
    blocks = {
        "cost": cost_block(result, code),
        "quick": quick_block(result, code),
        "start": start_block(result, code),
        "bench": bench_block(result, peers, code),
        "threads": thread_block(result, code),
        "ladder": ladder_block(result, code),
        "profile": profile_block(result, code),
        "found": found_block(result, code),
        "growth": growth_block(result, code),
        "claims": claims_block(result, code),
    }
    return {name: text or say("not measured", code) for name, text in blocks.items()}
