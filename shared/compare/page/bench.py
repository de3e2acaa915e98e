"""The bench as a part of the page: what `make bench` has left, or else the one that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.bench import figures, tables
from shared.bench.results import FULL, QUICK, BenchResult, read_bench

KEPT = Path(tables.__file__).with_name("measured") / "bench.json"


@dataclass(frozen=True)
class BenchSection:
    """What the page shows of a bench, as far as that has gone.

    Attributes:
        quick: whether it repeated little and left parts out.
        parts, rows: see `tables.main_rows`; `shares` and `ladder` likewise.
        figures: SVG by name.
        machine: where it was made, in one line.
    """

    result: BenchResult
    quick: bool
    parts: list[str]
    rows: list[list[str]]
    shares: list[list[str]]
    ladder: list[list[str]]
    figures: dict[str, str]
    machine: str


def newest_bench() -> BenchSection:
    """The last whole bench, or the last quick one, or else the one that is kept."""
    for path in (FULL, QUICK, KEPT):
        result = read_bench(path)
        if result is not None:
            return bench_section(result, quick=path == QUICK)
    raise FileNotFoundError(KEPT)


def bench_section(result: BenchResult, *, quick: bool) -> BenchSection:
    parts, rows = tables.main_rows(result)
    return BenchSection(
        result,
        quick,
        parts,
        rows,
        shares=tables.share_rows(result),
        ladder=tables.ladder_rows(result),
        figures={name: figures.svg_for_page(name, result) for name in figures.drawable(result)},
        machine=tables.machine_line(result),
    )
