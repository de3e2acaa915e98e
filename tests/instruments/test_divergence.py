"""The instrument that finds the first difference of two training programs: foreign programs, what
the recorder must not do to them, and the command."""

from __future__ import annotations

import importlib
import runpy
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.divergence.watching import recorded, script
from torch import nn

from shared.divergence import command as divergence
from shared.divergence.causes import CAUSES, KINDS, cause_of, kind_of
from shared.divergence.command import WrongUse
from shared.divergence.comparing.differences import compare
from shared.divergence.fingerprints import distance, fingerprint, ratio
from shared.divergence.records import read
from shared.divergence.report import report

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/support/fixtures"
PLAIN, LIGHTNING = FIXTURES / "plain_script.py", FIXTURES / "lightning_script.py"


PAIRS = {
    "a plain script and itself": (script(PLAIN), script(PLAIN)),
    "a plain script and its port": (script(PLAIN), script(LIGHTNING)),
    "with evaluation and itself": (script(PLAIN, "--validate"), script(PLAIN, "--validate")),
    "both minimal programs": (
        lambda: runpy.run_module("raw_pytorch.minimal", run_name="__main__"),
        lambda: runpy.run_module("lightning.minimal", run_name="__main__"),
    ),
    "saving or not": (script(PLAIN, "--save"), script(PLAIN)),
}


@pytest.mark.parametrize(("a", "b"), PAIRS.values(), ids=PAIRS)
def test_equal_programs_give_no_alarm(a, b, tmp_path, capsys):
    result = compare(recorded(a, tmp_path / "a"), recorded(b, tmp_path / "b"))
    assert (result.finding, result.rounding) == (None, [])
    assert result.steps >= 9


def test_two_optimizers_in_one_loop_are_followed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FIXTURES)
    loops = importlib.import_module("loops")
    a, b = (recorded(loops.two_optimizers, tmp_path / name) for name in "ab")
    assert compare(a, b).finding is None
    assert a.trained == 8
    assert [step.taken["number"] for step in a.steps[:4]] == [1, 0, 1, 0]
    assert [len(step.backwards) for step in a.steps[:2]] == [2, 1]
    other = recorded(loops.two_optimizers_with_another_rate, tmp_path / "c")
    found = compare(a, other).finding
    assert (found.cause, found.step) == ("optimizer-lr", 1)
    assert "0.02 in A, 0.03 in B" in found.text


# Programs that are not ours


@pytest.mark.parametrize(
    ("a", "b", "cause", "step"),
    [
        (script(PLAIN), script(PLAIN, "--lr", 0.2), "optimizer-lr", 1),
        (script(PLAIN), script(LIGHTNING, "--weight_decay", 0.01), "optimizer-option", 1),
        (script(PLAIN), script(PLAIN, "--validate"), "generator-loader", 7),
    ],
)
def test_a_difference_between_foreign_scripts_is_named(a, b, cause, step, tmp_path):
    found = compare(recorded(a, tmp_path / "a"), recorded(b, tmp_path / "b")).finding
    assert (found.cause, found.step) == (cause, step), found.text


@pytest.mark.parametrize(
    ("change", "options", "cause"),
    [
        (lambda x: x, dict(seed=1), "weights-seed"),
        (lambda x: x.double(), {}, "weights-dtype"),
        (lambda x: x * 2 - 1, {}, "batch-normalised"),
        (lambda x: x[[1, 0, 2, 3, 4, 5, 6, 7]], {}, "batch-order"),
        (lambda x: x.roll(4, 0), {}, "batch-shuffle"),
        (lambda x: x[:7], {}, "batch-size"),
        (lambda x: x.square(), {}, "batch-values"),
    ],
)
def test_what_is_different_about_a_batch_is_named(change, options, cause, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FIXTURES)
    train = importlib.import_module("loops").train
    images = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    a = recorded(lambda: train(images), tmp_path / "a")
    b = recorded(lambda: train(change(images), **options), tmp_path / "b")
    found = compare(a, b).finding
    assert found.cause == cause
    assert found.step == (2 if cause == "batch-size" else 1)


def test_a_buffer_that_is_not_registered_is_named(tmp_path):
    class Scaled(torch.nn.Module):
        def __init__(self, is_registered: bool) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)
            if is_registered:
                self.register_buffer("scale", torch.ones(3))
            else:
                self.scale = torch.ones(3)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.layer(values * self.scale)

    def program(is_registered: bool) -> None:
        torch.manual_seed(0)
        model = Scaled(is_registered)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()

    plain, registered = (
        recorded(lambda is_registered=is_registered: program(is_registered), tmp_path / name)
        for name, is_registered in (("plain", False), ("registered", True))
    )
    found = compare(plain, registered).finding
    assert (found.cause, found.step, found.who) == ("weights-missing", 1, "A")
    assert "0 buffers" in found.text and "scale" in found.text
    assert compare(registered, registered).finding is None


def test_a_difference_within_rounding_is_called_that_with_its_size_and_growth(tmp_path):
    a = recorded(script(PLAIN), tmp_path / "a")
    b = recorded(script(PLAIN, "--halves"), tmp_path / "b")
    nudge = compare(a, b).nudge
    moved = recorded(script(PLAIN), tmp_path / "moved", nudge.steps, (nudge.step, nudge.size))
    result = compare(a, b, moved)
    assert result.finding is None
    assert 0 < result.rounding[0].size < 1e-5
    lines, status = report(a, b, ("finished", "finished"), result=result)
    assert status == 0
    text = " ".join(lines)
    assert "Equal within rounding in 12 optimizer steps" in text
    assert f"{result.rounding[0].size:.1e}" in text and "a step" in text


def test_a_real_cause_is_told_from_the_rounding_before_it(tmp_path):
    a = recorded(script(PLAIN), tmp_path / "a")
    b = recorded(script(PLAIN, "--halves", "--validate"), tmp_path / "b")
    result = compare(a, b)
    assert result.rounding[0].step == 1
    assert (result.finding.cause, result.finding.step) == ("generator-loader", 7)


def test_a_crash_is_one_answer_with_its_line(tmp_path):
    a = recorded(script(PLAIN), tmp_path / "a")
    with pytest.raises(RuntimeError):
        recorded(script(PLAIN, "--crash_at", 5), tmp_path / "b")
    b = read(tmp_path / "b")
    lines, status = report(a, b, ("finished", "crashed"))
    assert status == 1
    text = "\n".join(lines)
    assert "B CRASHED after 5 optimizer steps: RuntimeError: the disk is full" in text
    assert 'raise RuntimeError("the disk is full")' in text
    assert "Steps 1 to 5 are equal to the bit" in text


@pytest.mark.parametrize(
    ("name", "why"), [("never_trains", "no call of backward()"), ("never_steps", "never change")]
)
def test_a_program_that_never_trains_is_one_answer(name, why, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FIXTURES)
    loops = importlib.import_module("loops")
    a = recorded(loops.two_optimizers, tmp_path / "a")
    b = recorded(getattr(loops, name), tmp_path / "b")
    lines, status = report(a, b, ("finished", "finished"))
    assert status == 1
    assert "B NEVER TRAINED" in lines[0]
    assert why in " ".join(lines)


@pytest.mark.parametrize(("mine", "size"), [([0, 1, 4, 5], 2), ([0, 2, 4, 6], 4)])
def test_a_batch_is_shared_out_among_processes_and_no_advice_is_to_make_it_as_large(
    mine, size, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(FIXTURES)
    loops = importlib.import_module("loops")
    images = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    one = recorded(lambda: loops.train(images), tmp_path / "a")
    monkeypatch.setenv("WORLD_SIZE", "2")
    two = recorded(lambda: loops.train(images[mine], size=size), tmp_path / "b")
    found = compare(one, two).finding
    assert (found.cause, found.step) == ("batch-world", 1)
    assert "A runs in 1 process, B in 2" in found.text
    assert "batch_size" not in cause_of(found.cause).change


def test_the_same_command_twice_that_differs_names_the_generator_without_a_seed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np, torch\n"
        "torch.manual_seed(0)\n"
        "model = torch.nn.Linear(3, 1)\n"
        "noise = torch.tensor(np.random.default_rng().normal(size=(4, 3))).float()\n"
        "model(noise).sum().backward()\n"
        "torch.optim.SGD(model.parameters(), lr=0.1).step()\n"
    )
    a, b = (recorded(script(program), tmp_path / name) for name in "ab")
    lines, status = report(a, b, ("finished", "finished"), is_same=True)
    text = " ".join(" ".join(lines).split())
    assert status == 1
    assert "a generator that is not seeded" in text and "Line 4 makes a generator" in text
    assert "the same command: it differs from run to run" in text


def test_a_compiled_side_is_said_and_no_call_in_it_is_guessed(tmp_path):
    def program(is_compiled: bool) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        forward = torch.compile(model, backend="eager") if is_compiled else model
        (forward(torch.ones(4, 3)).mean() * (1.5 if is_compiled else 1)).backward()
        optimizer.step()

    a = recorded(lambda: program(False), tmp_path / "a")
    b = recorded(lambda: program(True), tmp_path / "b")
    found = compare(a, b).finding
    assert (found.cause, found.step) == ("compiled", 1)
    assert "B compiles" in found.text and "Loss" in found.text


def test_what_follows_the_error_in_an_exception_is_not_taken_for_it(tmp_path):
    def program() -> None:
        raise RuntimeError("Loading failed.\nReader error: no such class.\nRead the manual.")

    with pytest.raises(RuntimeError):
        recorded(program, tmp_path / "a")
    assert read(tmp_path / "a").end["error"] == "RuntimeError: Reader error: no such class."


# The recorder


def test_recording_changes_nothing_and_leaves_nothing_behind(tmp_path):
    before = F.cross_entropy, torch.autograd.backward, torch.save, torch.manual_seed
    module = importlib.import_module("torch.nn.modules.module")
    hooks = module._global_forward_hooks, module._global_forward_pre_hooks

    def train() -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 2))
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(3):
            F.cross_entropy(model(torch.ones(4, 3)), torch.tensor([0, 1, 0, 1])).backward()
            optimizer.step()
        return model[0].weight.detach()

    plain, found = train(), []
    recorded(lambda: found.append(train()), tmp_path / "a")
    assert torch.equal(plain, found[0])
    assert before == (F.cross_entropy, torch.autograd.backward, torch.save, torch.manual_seed)
    assert not any(hooks)


def test_a_program_is_stopped_when_the_steps_asked_for_are_recorded(tmp_path):
    run = recorded(script(PLAIN), tmp_path / "a", steps=4)
    assert run.trained == 4
    assert run.end["how"] == "enough"
    assert 0 < run.end["recording"] < run.end["seconds"]


def test_a_record_cut_off_in_the_middle_of_a_line_is_read_up_to_it(tmp_path):
    recorded(script(PLAIN), tmp_path / "a")
    whole = (tmp_path / "a").read_text()
    (tmp_path / "b").write_text(whole[: len(whole) // 2])
    assert 0 < read(tmp_path / "b").trained < 12


def test_a_distance_is_estimated_without_the_tensors():
    a = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    b = a + 1e-3 * torch.randn(5000, generator=torch.Generator().manual_seed(1))
    true = float((a - b).norm())
    assert true / 3 < distance(fingerprint(a), fingerprint(b)) < true * 3
    assert distance(fingerprint(a), fingerprint(a.clone())) == 0
    assert ratio(fingerprint(3 * a), fingerprint(a)) == pytest.approx(3)
    assert ratio(fingerprint(a), fingerprint(a.flip(0))) is None


def test_one_flipped_bit_changes_the_fingerprint():
    a = torch.zeros(1000)
    b = a.clone()
    b[500] = -0.0
    assert torch.equal(a, b)
    assert fingerprint(a)["hash"] != fingerprint(b)["hash"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.complex64])
def test_any_dtype_has_a_fingerprint(dtype):
    a = torch.ones(3, 2).to(dtype)
    assert fingerprint(a, rows=True)["shape"] == [3, 2]
    assert fingerprint(torch.empty(0, dtype=dtype))["norm"] == 0


# The command


def test_every_cause_has_its_words_and_its_place_in_the_order():
    for name in CAUSES:
        assert kind_of(name) in KINDS.values()
        cause = cause_of(name)
        assert cause.title and cause.likely.format(who="A") and cause.change.format(who="A")


@pytest.mark.parametrize(
    ("text", "launcher", "program"),
    [
        ("python -m raw_pytorch.train --seed 1", ["python"], "-m raw_pytorch.train --seed 1"),
        (f"{PLAIN} --lr 3", ["python"], f"{PLAIN} --lr 3"),
        ("raw_pytorch.train:main", ["python"], "raw_pytorch.train:main"),
        (
            "torchrun --nproc_per_node 2 -m raw_pytorch.train",
            ["torchrun", "--nproc_per_node", "2"],
            "-m raw_pytorch.train",
        ),
        (
            f"python -m torch.distributed.run --nproc_per_node 2 {PLAIN}",
            ["python", "-m", "torch.distributed.run", "--nproc_per_node", "2"],
            str(PLAIN),
        ),
    ],
)
def test_a_command_is_split_into_what_starts_python_and_the_program(text, launcher, program):
    command = divergence.parse_command("A", text)
    assert (command.launcher, " ".join(command.program)) == (launcher, program)


@pytest.mark.parametrize(
    "text", ["", "ls -l", "no_such_script.py", "python -m no.such.module", "no_module:main", "'"]
)
def test_what_is_no_program_is_refused(text):
    with pytest.raises(WrongUse, match=r"^A: "):
        divergence.parse_command("A", text)


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--timeout", "0"], ["--stepz", "3"], []])
def test_wrong_use_is_one_line_and_status_two(flags, command):
    programs = [PLAIN, PLAIN] if flags else [PLAIN]
    outcome = command("shared.divergence", *programs, *flags)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1


def test_help_answers_at_once_and_states_the_exit_status(program):
    started = time.perf_counter()
    outcome = program("shared.divergence", "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert "0 equal" in outcome.out and "--steps" in outcome.out
    assert time.perf_counter() - started < 3


@pytest.mark.long
def test_two_unmodified_scripts_have_their_answer(program):
    port = f"{LIGHTNING} --weight_decay 0.1"
    outcome = program("shared.divergence", PLAIN, port)
    assert (outcome.status, outcome.err) == (1, "")
    assert "FIRST DIFFERENCE  step 1" in outcome.out
    assert "weight_decay is 0 in A, 0.1 in B" in outcome.out
    assert (
        "optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)" in outcome.out
    )
    assert "return torch.optim.SGD(self.parameters(), **options)" in outcome.out
    assert "recording" in outcome.out


@pytest.mark.long
def test_a_program_that_hangs_is_ended_and_said_so(tmp_path):
    command = divergence.parse_command("A", f"{PLAIN} --hang_at 3")
    path = tmp_path / "a.jsonl"
    run, how = divergence.record(command, path, 20, 6)
    assert how == "timeout"
    lines, status = report(run, run, (how, how), 6)
    assert status == 1
    assert "A DID NOT END within 6 s (--timeout): stopped" in lines[0]
