"""The instrument that finds the first difference of two training programs, on both sides of this
project: it names every mistake of the gallery, at its step, and is silent where they are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.divergence.watching import one_of_each, recorded, training
from support.fewer import fewer
from support.mistaken import made

import shared.data
from shared.divergence.comparing.differences import compare
from shared.divergence.records import Run
from shared.divergence.report import report
from shared.mistakes.catalogue import Mistake, mistakes, twins
from shared.mistakes.edits import Edit, changed
from shared.mistakes.gallery import OPTIONS, exhibit, right_run

# An eighth of the digits in batches an eighth as large: as many steps, in less time.
SMALL = {**OPTIONS, "batch_size": 16, "width": 4}


@pytest.fixture(autouse=True)
def an_eighth_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.data, "load", fewer(shared.data.load, slice(0, None, 8)))


# The gallery. Mistakes that need two processes are made by `make mistakes`, and one of them here.

ALONE = [m for m in [*mistakes(), *twins()] if "devices" not in m.options]
# One mistake of each of three kinds by default, all of them with the long tests.
SAMPLE = one_of_each(ALONE, lambda mistake: mistake.cause.split("-")[0])[:3]


@pytest.fixture(scope="module")
def right_runs() -> dict[str, Run]:
    return {}


@pytest.fixture
def as_found():
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def look_at(mistake: Mistake, folder: Path, right_runs: dict[str, Run]) -> tuple[Run, Run]:
    options = {**SMALL, **mistake.options}
    few = mistake.step < 4 and not mistake.cause.startswith("schedule")
    steps = 4 if few else 12 if mistake.step < 12 else mistake.step + 10
    key = repr([mistake.side, options, mistake.right, steps])

    def run(name: str, *edits: Sequence[Edit]) -> Run:
        sources = changed(mistake.side, *edits)
        with made(mistake.side, sources, folder / name):
            program = training(mistake.side, folder / f"run-{name}", **options)
            return recorded(program, folder / f"{name}.jsonl", steps)

    if key not in right_runs:
        right_runs[key] = run("right", mistake.right)
    return run("wrong", mistake.right, mistake.wrong), right_runs[key]


def is_named(mistake: Mistake, right_runs: dict[str, Run], tmp_path: Path) -> None:
    wrong, right = look_at(mistake, tmp_path, right_runs)
    found = compare(wrong, right).finding
    assert found is not None, "no difference was found"
    assert (found.cause, found.step) == (mistake.cause, mistake.step), found.text
    assert found.who in ("A", None), "the other run was blamed"


@pytest.mark.parametrize("mistake", SAMPLE, ids=lambda m: f"{m.side}: {m.name}")
def test_a_mistake_is_named_at_its_step(mistake, right_runs, as_found, tmp_path):
    is_named(mistake, right_runs, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "mistake", [m for m in ALONE if m not in SAMPLE], ids=lambda m: f"{m.side}: {m.name}"
)
def test_every_other_mistake_is_named_too(mistake, right_runs, as_found, tmp_path):
    is_named(mistake, right_runs, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "mistake", [m for m in mistakes() if m not in ALONE], ids=lambda m: f"{m.side}: {m.name}"
)
def test_a_mistake_of_several_processes_is_named_at_its_step(mistake, tmp_path):
    row = exhibit(mistake, tmp_path, right_run(mistake, tmp_path))
    assert row["found"] == row["expected"] == {"cause": mistake.cause, "step": mistake.step}


def test_the_other_order_of_the_programs_blames_the_other_one(right_runs, as_found, tmp_path):
    mistake = next(m for m in mistakes() if m.cause == "zero_grad-forgotten")
    wrong, right = look_at(mistake, tmp_path, right_runs)
    assert compare(wrong, right).finding.who == "A"
    assert compare(right, wrong).finding.who == "B"


def test_a_mistake_on_the_raw_side_is_named_against_lightning_too(right_runs, as_found, tmp_path):
    mistake = next(m for m in mistakes() if m.cause == "zero_grad-forgotten")
    wrong, _ = look_at(mistake, tmp_path, right_runs)
    program = training("lightning", tmp_path / "lightning", **SMALL)
    found = compare(wrong, recorded(program, tmp_path / "lightning.jsonl", 12)).finding
    assert (found.cause, found.step, found.who) == ("zero_grad-forgotten", 2, "A")
    ours, theirs = found.where[0][0], found.where[1][0]
    assert "backward()" in Path(ours[0]).read_text().splitlines()[ours[1] - 1]
    assert "trainer.fit(" in Path(theirs[0]).read_text().splitlines()[theirs[1] - 1]


# Equal pairs

EQUAL = {
    "defaults": {},
    "dropout": dict(dropout=0.4),
    "accumulation": dict(accumulate_grad_batches=3),
    "clipping": dict(gradient_clip_val=0.1),
    "bf16-mixed": dict(precision="bf16-mixed"),
    "early stopping": dict(early_stopping_patience=1, lr=0.8),
    "checkpoints within the epoch": dict(checkpoint_every_n_steps=3),
    "an odd batch size, another seed": dict(batch_size=13, seed=5),
    "everything": dict(
        dropout=0.2, accumulate_grad_batches=2, gradient_clip_val=0.5, precision="bf16-mixed"
    ),
}


# `make test` has the two minimal programs of this project for it, in test_divergence.py.
@pytest.mark.long
@pytest.mark.parametrize("options", EQUAL.values(), ids=EQUAL)
def test_both_sides_of_this_project_give_no_alarm(options, tmp_path):
    options = {"max_epochs": 2, "batch_size": 16, "width": 4, **options}
    raw, lightning = (
        recorded(training(side, tmp_path / side, **options), tmp_path / f"{side}.jsonl", 30)
        for side in ("raw_pytorch", "lightning")
    )
    result = compare(raw, lightning)
    assert (result.finding, result.rounding) == (None, [])
    assert result.steps == raw.trained == lightning.trained > 5
    assert raw.evaluations and raw.saves and raw.numbers


@pytest.mark.parametrize("mistake", SAMPLE, ids=lambda m: m.name)
def test_the_report_fits_eighty_columns_and_shows_both_lines(
    mistake, right_runs, as_found, tmp_path
):
    wrong, right = look_at(mistake, tmp_path, right_runs)
    lines, status = report(wrong, right, ("enough", "enough"))
    assert status == 1
    assert lines[0] == f"FIRST DIFFERENCE  step {mistake.step}"
    assert [line[:3] for line in lines if line[:3] in ("A  ", "B  ")] == ["A  ", "B  "]
    assert any(line.startswith("change   ") for line in lines)
    assert ("Step 1 is equal to the bit." in lines) == (mistake.step == 2)
    assert all(len(line) <= 80 for line in lines if "/" not in line)
