"""One program, and the same with one change: what the divergence tool says of each pair."""

from __future__ import annotations

import pytest
import torch
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

from shared.divergence.causes import CAUSES, kind_of
from shared.mistakes.catalogue import mistakes, twins

# Some run by default; all of them run with the long tests.
FEW = [
    *one_of_each(DIFFERENT, lambda p: p.causes[0].split("-")[0])[::2],
    WITNESSED[0],
    *EQUAL[::24],
    *one_of_each((*OTHERS, *GROWING), lambda p: str(bool(p.causes))),
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


# Causes that other tests are about, and the one of which no pair is made: two devices are needed.
ELSEWHERE = {"batch-order", "batch-world", "compiled"}
UNMADE = {"batch-device"}
# Of kinds that have one cause alone: what is near to it and changes nothing.
NEAR = {
    "setting": "settings written out",
    "hook": "a hook that only looks",
    "frozen": "gradients asked for again",
    "steps": "epochs counted from one",
}


def test_every_cause_is_given_to_a_pair_and_kept_from_another_of_its_kind():
    rows = [line.strip("| ").split(" | ") for line in README.read_text().splitlines()]
    named = {(row[0], row[1]): row[2] for row in rows if len(row) == 4 and row[3] == "right"}
    made = {mistake.cause for mistake in (*mistakes(), *twins())} | ELSEWHERE
    assert CAUSES.keys() - set(named.values()) - made == UNMADE
    for cause in CAUSES:
        kin = {
            pair.kind
            for pair in ALL
            if cause not in pair.causes
            and (given := named.get((pair.program, pair.kind))) in CAUSES
            and kind_of(given) == kind_of(cause)
        }
        near = {pair.kind for pair in ALL if not pair.causes and pair.kind == NEAR.get(cause)}
        assert kin or near, cause


def test_there_are_forty_pairs_of_each_kind_and_no_two_are_the_same():
    changed = [(source(pair), pair.against) for pair in ALL]
    assert len(set(changed)) == len(changed)
    different = [pair for pair in ALL if pair.causes]
    assert min(len(different), len(ALL) - len(different)) >= 40


@pytest.mark.long
def test_the_kind_of_an_average_is_told_whatever_the_number_of_threads(tmp_path, request):
    """Dropout draws in another way then, and sums are rounded otherwise."""
    request.addfinalizer(lambda: torch.set_num_threads(1))
    torch.set_num_threads(2)
    (pair,) = (p for p in DIFFERENT if p.kind == "means of batches averaged")
    verdict, result, _ = outcome(pair, Unchanged(tmp_path))
    assert verdict == "right", result.finding
