"""One program, and the same with one change: what the divergence tool says of each pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.pairs import (
    BASE,
    BEGIN,
    DIFFERENT,
    END,
    EQUAL,
    README,
    WITNESSED,
    Pair,
    outcome,
    recorded,
    table,
    written,
)
from support.watching import one_of_each

from shared.divergence.records import Run

# Some of each kind run by default; all of them run with the long tests.
FEW = [*one_of_each(DIFFERENT, lambda p: p.causes[0].split("-")[0]), WITNESSED[0], *EQUAL[::8]]
MANY = [pair for pair in (*DIFFERENT, *WITNESSED, *EQUAL) if pair not in FEW]


@pytest.fixture(scope="module")
def base() -> Callable[[Path], Run]:
    kept: list[Run] = []

    def run(folder: Path) -> Run:
        if not kept:
            kept.append(recorded(BASE, folder, "a"))
        return kept[0]

    return run


def said_rightly(pair: Pair, folder: Path, base: Callable[[Path], Run]) -> None:
    verdict, result, run = outcome(pair, folder, base(folder))
    assert verdict == "right", result.finding or result.rounding
    # Another order of terms need not give other bits on every machine.
    assert pair in WITNESSED or not result.rounding, result.rounding
    assert run.end is not None
    assert (run.end["how"], run.end["faults"]) == ("finished", [])


@pytest.mark.parametrize("pair", FEW, ids=lambda p: p.kind)
def test_a_pair_is_named_by_its_cause_and_line_or_is_equal(pair, base, tmp_path):
    said_rightly(pair, tmp_path, base)


@pytest.mark.long
@pytest.mark.parametrize("pair", MANY, ids=lambda p: p.kind)
def test_every_other_pair_is_named_or_equal_too(pair, base, tmp_path):
    said_rightly(pair, tmp_path, base)


@pytest.mark.long
def test_the_table_in_the_readme_is_what_the_pairs_give(tmp_path):
    rows = table(tmp_path)
    assert not [row for row in rows if row[2] == "wrong"]
    text = README.read_text()
    assert text.split(BEGIN)[1].split(END)[0].strip() == written(rows)


def test_there_are_forty_pairs_of_each_kind_and_no_two_are_the_same():
    changes = {(p.before, p.after) for p in (*DIFFERENT, *WITNESSED, *EQUAL)}
    assert len(changes) == len(DIFFERENT) + len(WITNESSED) + len(EQUAL)
    assert min(len(DIFFERENT), len(EQUAL)) >= 40
