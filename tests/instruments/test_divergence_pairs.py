"""One program, and the same with one change: what the divergence tool says of each pair."""

from __future__ import annotations

import pytest
from support.divergence.change import Pair
from support.divergence.growing import GROWING
from support.divergence.one_program import DIFFERENT, EQUAL, WITNESSED
from support.divergence.pairs import (
    ALL,
    BEGIN,
    END,
    README,
    Row,
    Unchanged,
    outcome,
    row,
    source,
    table,
    written,
)
from support.divergence.styles import OTHERS
from support.divergence.watching import one_of_each

# Some of each kind run by default; all of them run with the long tests.
FEW = [
    *one_of_each(DIFFERENT, lambda p: p.causes[0].split("-")[0]),
    WITNESSED[0],
    *EQUAL[::8],
    *one_of_each((*OTHERS, *GROWING), lambda p: p.program + str(bool(p.causes))),
]
ROWS: dict[Pair, Row] = {}
MANY = [pair for pair in ALL if pair not in FEW]


def named(pair: Pair) -> str:
    return f"{pair.program}: {pair.kind}"


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Unchanged:
    return Unchanged(tmp_path_factory.mktemp("unchanged"))


def said_rightly(pair: Pair, unchanged: Unchanged) -> None:
    verdict, result, run = outcome(pair, unchanged)
    ROWS[pair] = row(pair, verdict, result)
    assert verdict == "right", result.finding or result.rounding
    # Another order of terms need not give other bits on every machine.
    assert pair not in EQUAL or not result.rounding, result.rounding
    assert run.end is not None
    assert (run.end["how"], run.end["faults"]) == ("finished", [])


@pytest.mark.parametrize("pair", FEW, ids=named)
def test_a_pair_is_named_by_its_cause_and_line_or_is_equal(pair, unchanged):
    said_rightly(pair, unchanged)


@pytest.mark.long
@pytest.mark.parametrize("pair", MANY, ids=named)
def test_every_other_pair_is_named_or_equal_too(pair, unchanged):
    said_rightly(pair, unchanged)


@pytest.mark.long
def test_the_table_in_the_readme_is_what_the_pairs_give(unchanged):
    rows = table(unchanged, ROWS)
    assert not [row for row in rows if row[-1] == "wrong"]
    text = README.read_text()
    assert text.split(BEGIN)[1].split(END)[0].strip() == written(rows)


def test_there_are_forty_pairs_of_each_kind_and_no_two_are_the_same():
    changed = [(source(pair), pair.against) for pair in ALL]
    assert len(set(changed)) == len(changed)
    different = [pair for pair in ALL if pair.causes]
    assert min(len(different), len(ALL) - len(different)) >= 40
