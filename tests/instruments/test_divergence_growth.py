"""Rounding needs a witness: the divergence tool runs A once more, with its weights moved by one
rounding, and says how large that becomes. Two processes that average their gradients round too."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from support.divergence import pairs
from support.divergence.pairs import recorded
from support.divergence.watching import recorded as watched
from support.divergence.watching import script

from shared.divergence import command
from shared.divergence.causes import cause_of
from shared.divergence.command import parse_command, record
from shared.divergence.comparing.differences import compare
from shared.divergence.recording.nudging import nudge
from shared.divergence.records import Run
from shared.divergence.report import report

FINISHED = "finished", "finished"
STEADY, UNSTEADY = pairs.program("steady"), pairs.program("unsteady")
HALVES = (
    "self.first(x)",
    "x[:, :6] @ self.first.weight[:, :6].T + x[:, 6:] @ self.first.weight[:, 6:].T + "
    "self.first.bias",
)
FUSED = ("lr=0.003)", "lr=0.003, fused=True)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("growth")


@pytest.fixture(scope="module")
def a(folder: Path) -> Run:
    return recorded(STEADY, folder, "a")


@pytest.fixture(scope="module")
def b(folder: Path) -> Run:
    return recorded(STEADY.replace(*FUSED), folder, "b")


def said(*runs: Run) -> tuple[str, int]:
    lines, status = report(runs[0], runs[1], FINISHED, result=compare(*runs))
    return " ".join(" ".join(lines).split()), status


@pytest.mark.long
def test_both_sizes_are_said_where_rounding_is_all_that_differs(a, b, folder):
    moved = recorded(STEADY, folder, "a", 20, (1, 1.2e-7))
    largest = compare(a, b, moved).growth.largest
    text, status = said(a, b, moved)
    assert status == 0
    assert text.startswith("Equal within rounding in 20 optimizer steps.")
    assert "A with its weights moved by 1.2e-07 from step 1 on parts from A by at most" in text
    assert f"at most {largest.shown:.1e} in" in text and f"B by {largest.size:.1e};" in text


def test_without_the_experiment_nothing_is_claimed(a, b):
    text, status = said(a, b)
    assert status == 1
    assert text.startswith("NOT KNOWN whether 20 optimizer steps are equal within rounding.")
    assert "How large a rounding becomes in A is not known." in text


def test_steps_before_a_known_cause_are_not_called_equal_without_the_experiment(a, folder):
    text = STEADY.replace(*FUSED).replace("(out, y)", "(out, y, label_smoothing=0.1 * (step > 8))")
    b = recorded(text, folder, "b")
    assert compare(a, b).nudge.steps == compare(a, b).finding.step == 10
    text, status = said(a, b)
    assert (status, "Steps 1 to 9 are equal" in text) == (1, False)
    assert "How large a rounding becomes in A is not known." in text
    text, _ = said(a, b, recorded(STEADY, folder, "a", 10, (1, 1.2e-7)))
    assert "Steps 1 to 9 are equal but for rounding" in text


@pytest.mark.parametrize(
    ("change", "steps", "why"),
    [
        (("", ""), 5, "with its weights moved it ended after 5 steps"),
        (("manual_seed(0)", "manual_seed(1)"), 20, "run again it is another at step 1"),
        (("manual_seed(3)", "manual_seed(4)"), 20, "run again it is another at step 1"),
    ],
    ids=["shorter", "other weights", "other batches"],
)
def test_an_experiment_that_fails_is_said_and_nothing_is_claimed(a, b, folder, change, steps, why):
    moved = recorded(STEADY.replace(*change), folder, "a", steps, (1, 1.2e-7))
    text, status = said(a, b, moved)
    assert status == 1
    assert "NOT KNOWN" in text and f"How large a rounding becomes in A is not known: {why}" in text


def test_a_run_whose_weights_were_never_moved_is_no_experiment(a, b):
    text, status = said(a, b, a)
    assert status == 1
    assert "not known: no weight of A could be moved" in text


@pytest.mark.long
def test_where_a_rounding_becomes_everything_no_more_is_claimed(folder):
    a, b = (recorded(text, folder, "u") for text in (UNSTEADY, UNSTEADY.replace(*HALVES)))
    moved = recorded(UNSTEADY, folder, "u", 20, compare(a, b).nudge[:2])
    result = compare(a, b, moved)
    assert result.finding is None and 1 < result.blind < 20
    text, status = said(a, b, moved)
    assert status == 1
    assert f"Equal within rounding before step {result.blind} of 20; NOT COMPARABLE" in text
    assert f"With --steps {result.blind - 1} all that is compared can be told" in text


# Moved by one rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_each_weight_moves_by_about_one_rounding_up_or_down(dtype):
    before = torch.linspace(-2, 2, 300).to(dtype)
    after = before.clone()
    nudge(after, 0.0, shift=5)
    apart = (after.double() / before.double() - 1) / torch.finfo(dtype).eps
    assert bool(((apart.abs() >= 0.4) & (apart.abs() <= 2)).all())
    assert 100 < int((apart > 0).sum()) < 200


def test_a_weight_moves_by_more_where_more_is_asked_for_and_otherwise_at_each_step():
    weights = [torch.ones(500) for _ in range(3)]
    for weight, shift in zip(weights, (1, 1, 2), strict=True):
        nudge(weight, 1e-3, shift)
    assert (weights[0] - 1).abs().tolist() == pytest.approx([1e-3] * 500, rel=1e-3)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_no_generator_is_drawn_from_and_nothing_but_weights_is_moved(a, folder):
    states = []

    def drawn() -> list[str]:
        kinds = torch.get_rng_state().sum(), np.random.get_state()[1].sum(), random.getstate()
        return [str(kind) for kind in kinds]

    for moved in (None, (3, 1.2e-7)):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        run = recorded(STEADY, folder, "a", 20, moved)
        states.append(drawn())
    assert states[0] == states[1]
    assert [event["step"] for event in run.nudged] == [*range(2, 20)]
    result = compare(a, run)
    assert result.finding is not None and result.finding.step == 3
    assert not run.changed and run.end["faults"] == []


def test_moved_weights_are_taken_for_no_update_where_a_step_has_several_forward_passes(folder):
    for name in ("averaged", "gan"):
        plain, moved = (
            recorded(pairs.program(name), folder, name, 4, size) for size in (None, (2, 1.2e-7))
        )
        assert len(moved.nudged) >= 3
        assert (moved.trained, len(moved.changed)) == (plain.trained, len(plain.changed))
        assert all(step.taken["optimizer"] for step in moved.steps)


# The command


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple]:
    """The programs that the command has run, in this process."""
    seen: list[tuple] = []

    def run(program, path, steps, timeout, moved=()):
        seen.append((program.program[0], path.name, steps, moved))
        text = Path(program.program[0]).read_text()
        return recorded(text, folder, "a", steps, moved or None), "finished"

    monkeypatch.setattr(command, "record", run)
    return seen


def asked(*words: str) -> int:
    return command.diverge(command.parse_args(list(words)))


def test_a_is_run_once_more_only_where_rounding_is_to_be_told(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text(STEADY)
    Path("b.py").write_text(STEADY.replace(*FUSED))
    Path("c.py").write_text(STEADY.replace("lr=0.003", "lr=0.004"))
    assert asked("a.py", "a.py", "--steps", "3") == 0
    assert asked("a.py", "c.py", "--steps", "3") == 1
    assert [name for _, name, _, _ in runs] == ["A.jsonl", "B.jsonl"] * 2
    runs.clear()
    assert asked("a.py", "b.py", "--steps", "6") == 0
    assert [run[:3] for run in runs] == [
        ("a.py", "A.jsonl", 6), ("b.py", "B.jsonl", 6), ("a.py", "nudged.jsonl", 6),
    ]  # fmt: skip
    step, size = runs[2][3]
    assert step == 1 and 1e-7 < size < 1e-6
    assert "once more, with its weights moved by one rounding" in capsys.readouterr().out


@pytest.mark.long
def test_two_programs_are_equal_within_rounding_or_not_and_the_third_record_is_kept(
    program, tmp_path
):
    names = {"a": STEADY, "fused": STEADY.replace(*FUSED)}
    names["hidden"] = (
        names["fused"]
        .replace(
            "    opt.step()\n", "    model.last.weight.grad.numpy()[:] *= 1.001\n    opt.step()\n"
        )
        .replace("    loss.backward()\n", "    loss.backward()\n    fine = step < 9\n")
        .replace("*= 1.001", "*= 1 if fine else 1.001")
    )
    for name, text in names.items():
        (tmp_path / f"{name}.py").write_text(text)
    for other, status in (("fused", 0), ("hidden", 1)):
        two = tmp_path / "a.py", tmp_path / f"{other}.py"
        outcome = program("shared.divergence", *two, "--keep", tmp_path / other)
        assert (outcome.status, outcome.err) == (status, "")
        assert (tmp_path / other / "nudged.jsonl").is_file()
    assert "FIRST DIFFERENCE  step 10" in outcome.out
    assert "cause    a difference of this size: cause not found" in outcome.out


# Two processes against one

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
    one = watched(script(PROGRAM, 8), tmp_path / "one")
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
    one = watched(script(PROGRAM, 16), tmp_path / "one")
    for a, b in ((two, one), (one, two)):
        result = compare(a, b)
        assert result.finding is None
        assert 0 < result.rounding[0].size < 1e-6
        assert "shares each batch of the other out among 2 processes" in result.rounding[0].reason
        assert "what each computes of its share was not compared" in result.notes[0]
    moved = watched(script(PROGRAM, 16), tmp_path / "moved", 20, result.nudge[:2])
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
    found = compare(two, watched(script(program, 16), tmp_path / "one")).finding
    assert how == "finished"
    assert (found.cause, found.step, found.who) == ("batch-world", 1, None)
