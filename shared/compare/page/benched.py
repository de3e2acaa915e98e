"""The bench as a section of the page: what `make bench` has left in runs/bench."""

from __future__ import annotations

from typing import Any

from shared.bench import figures as bench_figures
from shared.bench import tables as bench_tables
from shared.files import RUNS


def newest() -> dict[str, Any] | None:
    """What the page shows of the last whole bench, or else of the last quick one; None where there
    is neither."""
    for name in ("bench", "quick"):
        result = bench_tables.read(RUNS / "bench" / f"{name}.json")
        if result is not None:
            return show(result, quick=name == "quick")
    return None


def show(result: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """The tables and the figures of a bench, as far as it has gone."""
    parts, rows = bench_tables.main_rows(result)
    return {
        "result": result,
        "quick": quick,
        "parts": parts,
        "rows": rows,
        "shares": bench_tables.share_rows(result),
        "ladder": bench_tables.ladder_rows(result),
        "figures": {n: bench_figures.for_page(n, result) for n in bench_figures.there(result)},
        "machine": bench_tables.machine_line(result),
    }
