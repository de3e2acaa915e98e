"""Two processes against one: the divergence tool knows that a batch is shared out among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.divergence.watching import recorded, script

from shared.divergence.causes import cause_of
from shared.divergence.command import parse_command, record
from shared.divergence.comparing.differences import compare
from shared.divergence.records import Run
from shared.divergence.report import report

PROGRAM = Path(__file__).parents[1] / "support/fixtures/world.py"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of two processes with eight samples of a step each."""
    path = tmp_path_factory.mktemp("world") / "two.jsonl"
    command = parse_command("A", f"torchrun --nproc_per_node 2 {PROGRAM} 8")
    run, how = record(command, path, steps=20, timeout=120)
    assert (how, run.world, run.trained) == ("finished", 2, 6)
    return run


@pytest.mark.long
def test_two_processes_with_a_whole_batch_each_are_told_from_one_and_none_is_blamed(two, tmp_path):
    one = recorded(script(PROGRAM, 8), tmp_path / "one")
    for a, b in ((two, one), (one, two)):
        found = compare(a, b).finding
        assert (found.cause, found.step, found.who) == ("batch-world", 1, None)
        assert f"A runs in {a.world} process" in found.text and f"B in {b.world}." in found.text
        lines, status = report(a, b, ("finished", "finished"))
        assert status == 1
        assert "batch_size" not in " ".join(lines)
        assert "share of the batch" in cause_of(found.cause).change


@pytest.mark.long
def test_two_processes_with_half_a_batch_each_are_equal_to_one_but_for_rounding(two, tmp_path):
    one = recorded(script(PROGRAM, 16), tmp_path / "one")
    for a, b in ((two, one), (one, two)):
        result = compare(a, b)
        assert result.finding is None
        assert 0 < result.rounding[0].size < 1e-6
        assert "shares each batch of the other out among 2 processes" in result.rounding[0].reason
        assert "what each computes of its share was not compared" in result.notes[0]
    moved = recorded(script(PROGRAM, 16), tmp_path / "moved", 20, result.nudge[:2])
    lines, status = report(one, two, ("finished",) * 2, result=compare(one, two, moved))
    text = " ".join(" ".join(lines).split())
    assert (status, "Equal within rounding in 6 optimizer steps." in text) == (0, True)
    assert "No setting and no mode differs." in text


@pytest.mark.long
def test_two_processes_that_share_a_batch_and_do_not_average_are_told_from_one(tmp_path):
    program = tmp_path / "apart.py"
    text = PROGRAM.read_text()
    program.write_text(text.replace("    model = DistributedDataParallel(model)\n", ""))
    command = parse_command("A", f"torchrun --nproc_per_node 2 {program} 8")
    two, how = record(command, tmp_path / "two.jsonl", steps=20, timeout=120)
    found = compare(two, recorded(script(program, 16), tmp_path / "one")).finding
    assert how == "finished"
    assert (found.cause, found.step, found.who) == ("batch-world", 1, None)
