"""What the compare page answers to "who makes this call now?" is what happened."""

from __future__ import annotations

import ast
import inspect
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.compare.page.exhibit import FIRST
from shared.compare.source.concerns import concerns
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace.answers import Answer, answers, snippets
from shared.compare.trace.bookkeeping import LOOP, kept, loop_lines
from shared.compare.trace.events import HookCall, OperationCall
from shared.compare.trace.operations import OPERATIONS
from shared.compare.trace.timeline import Moment, moments, pairs, parts
from shared.compare.trace.tracing import VARIANTS, Both, trace_programs
from shared.compare.trace.where import functions, source, way
from shared.compare.words import compare_words
from shared.errors import RunError

# What a reader's file has imported before a snippet is pasted into it.
IMPORTS = """
import time
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins import TorchCheckpointIO
from pytorch_lightning.strategies import SingleDeviceStrategy
"""
# What a run of one process has no use for; elsewhere than on Linux, no other is traced.
IDLE = {"init_process_group", "broadcast_object_list", "DistributedDataParallel"}
IDLE = set() if any("devices" in changed for changed in VARIANTS.values()) else IDLE


@pytest.fixture(scope="session")
def found(traced: list[Both]) -> dict[str, Answer]:
    return {answer.key: answer for answer in answers(traced)}


@pytest.fixture(scope="session")
def batch(traced: list[Both]) -> list[Moment]:
    return moments(traced[0].raw, traced[0].lightning)


def calls_of(events: list[Any], name: str) -> list[OperationCall]:
    return [e for e in events if isinstance(e, OperationCall) and e.name == name]


def test_a_traced_run_is_still_the_same_run_on_both_sides(traced):
    whole = [both for both in traced if both.program == "train"]
    assert len(whole) == 1 + len(VARIANTS)
    for both in whole:
        assert both.raw.weights_sha256 == both.lightning.weights_sha256 != "", both.flag


def test_every_operation_ran_on_both_sides(traced):
    for side in ("raw", "lightning"):
        seen = {call.name for both in traced for call in getattr(both, side).calls}
        assert {operation.name for operation in OPERATIONS} - seen == IDLE
    assert len(OPERATIONS) > 40


@pytest.mark.parametrize("program", ["train", "basic", "minimal"])
def test_every_call_of_every_line_has_an_answer_whose_function_made_that_call(
    traced, found, program
):
    """The answer's line and function stand among the places from which the tracer saw Lightning's
    side make the call."""
    file = f"raw_pytorch/{program}.py"
    runs = [both for both in traced if both.program == program]
    of = {(a.line.number, a.name): a for a in found.values() if a.line.file == file}
    checked = set()
    for both in runs:
        for call in both.raw.calls:
            number = next(n for f, n, _ in call.frames if f == file)
            seen = {
                tuple(theirs.frames[0])
                for other in runs
                for theirs in calls_of(other.lightning.events, call.name)
            }
            answer = of[number, call.name]
            place = answer.place.file, answer.place.number
            makers = {function for *at, function in seen if tuple(at) == place}
            assert makers, answer.key
            # What stands in brackets runs in a frame of its own, and so does the top of a file.
            inner = {name for name in makers if not name.startswith("<")}
            assert inner <= {answer.place.function.split(".")[-1]}, answer.key
            checked.add(answer.key)
    assert len(checked) >= {"train": 55, "basic": 20, "minimal": 10}[program]


def test_every_line_of_the_raw_loop_has_an_answer(found):
    answered = {answer.line.number for answer in found.values() if answer.line.file == LOOP}
    assert len(loop_lines()) >= 40
    assert [source(LOOP)[n - 1].strip() for n in loop_lines() if n not in answered] == []


@pytest.mark.parametrize("key", [FIRST, f"basic:{FIRST}", f"minimal:{FIRST}"])
def test_the_first_question_has_its_answer_in_every_program(found, key):
    answer = found[key]
    assert ".backward()" in answer.line.text
    assert answer.place.function == answer.override == "LightningModule.backward"
    assert "loss.backward(" in answer.place.text
    assert answer.kind == "trainer"
    assert answer.calls and answer.calls[0] == answer.calls[1]
    assert answer.hook == "backward"
    assert answer.hooks.index("on_before_backward") < answer.hooks.index("on_after_backward")


@pytest.mark.parametrize(
    "key, file, text",
    [
        ("optimizer.zero_grad", "pytorch_lightning/core/module.py", "optimizer.zero_grad("),
        ("optimizer.step", "pytorch_lightning/plugins/precision/precision.py", "optimizer.step("),
        ("batch.to", "lightning_fabric/utilities/apply_func.py", "data.to("),
        ("clip_grad_norm_", "pytorch_lightning/plugins/precision/precision.py", "clip_grad_norm_("),
        ("loss/n", "pytorch_lightning/loops/optimization/automatic.py", "/ normalize"),
        ("module.training_step", "pytorch_lightning/strategies/strategy.py", "training_step("),
    ],
)
def test_the_line_found_in_lightning_makes_the_call(found, key, file, text):
    assert found[key].place.file == file
    assert text in found[key].place.text


def test_an_answer_shows_lines_of_its_function_and_no_neighbour_s(found):
    checked = 0
    for answer in found.values():
        shown = [(n, text) for n, text in answer.place.excerpt() if n]
        assert answer.place.number in dict(shown)
        lines = source(answer.place.file)
        assert all(lines[n - 1].endswith(text) for n, text in shown)
        for name, node in functions(answer.place.file):
            if (
                name == answer.place.function
                and node.lineno <= answer.place.number <= node.end_lineno
            ):
                assert all(node.lineno <= n <= node.end_lineno for n, _ in shown), answer.key
                checked += 1
    assert checked > 60


def test_calls_belong_together_that_are_made_at_the_same_place(found):
    """By hand, a run leaves at the end of an epoch, with Lightning at the start of the next one:
    the call in the batch is not the partner of either."""
    asked = found["interrupt.requested"]
    assert "is_due or" in asked.line.text
    assert asked.place.function == "StopOnSignal.on_train_batch_end"
    leaving = found["interrupt.leave_if_requested"]
    assert leaving.calls is None
    assert leaving.place.function == "StopOnSignal.on_train_epoch_start"
    assert found["interrupt.finish"].place.function == "train"


def test_what_one_side_does_earlier_shifts_no_other_partner(traced):
    both = next(both for both in traced if both.program == "train")
    late = list(both.raw.events)
    # One call more in the first batch: those of the second are still partners.
    i = next(i for i, e in enumerate(late) if e.name == "loss.backward")
    late.insert(i, late[i])
    partners = pairs(late, both.lightning.events)
    at = parts(both.lightning.events)
    made = [j for j, e in enumerate(both.lightning.events) if e.name == "loss.backward"]
    assert [
        at[partners[k]] for k, e in enumerate(late) if e.name == "loss.backward" if k in partners
    ] == [at[j] for j in made]
    assert len(made) == 2


def test_every_difference_in_count_is_explained_and_no_other(found):
    different = {
        f"why {a.name}"
        for a in found.values()
        if a.kind and (not a.calls or a.calls[0] != a.calls[1])
    }
    assert {key for key in compare_words() if key.startswith("why ")} == different


def test_what_only_a_flag_switches_on_says_so_and_what_a_flag_moves(found):
    assert found["clip_grad_norm_"].only_with == "--gradient_clip_val 1.0"
    assert found["early_stopping.step"].only_with == "--early_stopping_patience 1"
    assert found["torch.autocast"].only_with == "--precision bf16-mixed"
    assert found["DistributedDataParallel"].only_with.startswith("--devices 2")
    assert found["DistributedDataParallel"].place.function == "DDPStrategy._setup_model"
    (variant,) = found["optimizer.zero_grad"].variants
    assert (variant[0], variant[2]) == ("--accumulate_grad_batches 2", 1)
    assert found[FIRST].variants == ()


def test_who_has_to_write_it_follows_from_where_the_call_is_made(found):
    kinds = {key: answer.kind for key, answer in found.items()}
    for key in ("optimizer.step", "module.train", "writer.add_scalar", "metric.compute:130"):
        assert kinds.get(key, "trainer") == "trainer", key
    for key in ("module.training_step", "finite_loss.step", "random.seed", "data.setup"):
        assert kinds[key] == "yours", key
    for key in ("early_stopping.step", "progressbar"):
        assert kinds[key] == "callback", key


def check_that_exists(name: str) -> None:
    """A class, a function or a method of Lightning, with the argument that is named."""
    import pytorch_lightning as pl
    from pytorch_lightning import callbacks, loggers, plugins, strategies

    homes = (pl, callbacks, loggers, plugins, strategies, pl.LightningModule)
    owner, _, rest = name.removeprefix("self.").partition("(")
    path = owner.split(".")
    found = next(home for home in homes if hasattr(home, path[0]))
    for part in path:
        found = getattr(found, part)
    if argument := rest.rstrip(")").partition("=")[0].strip("."):
        # A logger hands on what it does not know itself.
        bases = found.__mro__ if inspect.isclass(found) else [found]
        assert argument in {p for b in bases for p in inspect.signature(b.__init__).parameters}


def test_what_is_named_to_override_or_to_set_exists_and_has_a_snippet(found):
    named = {answer.override for answer in found.values()} - {""}
    assert named == set(snippets())
    for name in named:
        check_that_exists(name)
    for answer in found.values():
        assert answer.override or answer.place.is_own, answer.key


@pytest.mark.parametrize("name", snippets())
def test_a_snippet_runs_and_overrides_what_it_says(name, tmp_path):
    """As it stands, after the imports that everybody has; its methods take what Lightning hands to
    them."""

    code = ast.parse(snippets()[name])
    (tmp_path / "snippet.py").write_text(IMPORTS + snippets()[name])
    known = runpy.run_path(str(tmp_path / "snippet.py"))
    method = name.split("(")[0].split(".")[-1]
    for node in code.body:
        if not isinstance(node, ast.ClassDef) or "(" in name:
            continue
        (function,) = node.body
        assert isinstance(function, ast.FunctionDef)
        assert function.name == method
        made = known[node.name]
        mine = inspect.signature(getattr(made, method))
        theirs = inspect.signature(getattr(made.__mro__[1], method))
        given = [
            p.name for p in theirs.parameters.values()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]  # fmt: skip
        if given[1:]:
            mine.bind(*given)


def test_every_operation_belongs_to_a_concern_with_words(found):
    known = set(concerns(RAW)) & set(concerns(LIGHTNING))
    for operation in OPERATIONS:
        assert f"tag {operation.tag}" in compare_words()
        assert operation.tag in known


def test_bookkeeping_names_lines_and_settings_that_exist():
    for entry in kept():
        assert entry.raw, entry
        assert entry.lightning, entry
        check_that_exists(entry.change)


def test_a_batch_runs_through_its_hooks_in_lightning_s_order(batch):
    expected = [
        "transfer_batch_to_device", "on_train_batch_start", "optimizer_step", "training_step",
        "on_before_zero_grad", "optimizer_zero_grad", "on_before_backward", "backward",
        "on_after_backward", "on_before_optimizer_step", "configure_gradient_clipping",
        "lr_scheduler_step", "on_train_batch_end",
    ]  # fmt: skip
    hooks = [m.name for m in batch if m.on]
    assert [name for name in dict.fromkeys(hooks) if name in expected] == expected
    names = [m.name for m in batch]
    for name in ("training_step", "loss.backward", "optimizer.step"):
        assert batch[names.index(name)].depth > batch[names.index("optimizer_step")].depth


def test_an_operation_stands_beside_the_raw_line_that_does_the_same(batch, found):
    for name in ("loss.backward", "optimizer.step", "scheduler.step", "interrupt.requested"):
        moment = next(m for m in batch if m.name == name)
        assert moment.raw == found[name].line


def test_a_hook_whose_default_works_is_not_called_empty(traced, batch):
    does = {
        event.name: event.does
        for event in traced[0].lightning.events
        if isinstance(event, HookCall) and event.on == "LightningModule"
    }
    for name in (
        "backward", "optimizer_step", "optimizer_zero_grad", "transfer_batch_to_device",
        "configure_gradient_clipping", "lr_scheduler_step", "on_validation_model_eval",
    ):  # fmt: skip
        assert does[name] == "lightning", name
    for name in ("on_train_epoch_end", "on_before_batch_transfer", "on_after_backward"):
        assert does[name] == "nothing", name
    styles = {m.name: m.style for m in batch if m.on}
    assert (styles["training_step"], styles["backward"]) == ("own", "default")
    assert styles["on_after_backward"] == "empty"


def test_both_languages_have_words_for_everything():
    assert len(compare_words()) > 80
    for key, texts in compare_words().items():
        assert set(texts) == {"en", "zh"}, key
        assert all(text.strip() for text in texts.values()), key
        assert "週期" not in texts["zh"], f"{key}: an epoch is an epoch"


def test_the_source_of_installed_packages_is_named_without_the_machine_s_paths(traced):
    files = {
        frame[0]
        for both in traced
        for trace in (both.raw, both.lightning)
        for call in trace.calls
        for frame in call.frames
    }
    assert len(files) > 20
    assert not any(Path(file).is_absolute() for file in files)


def test_an_answer_from_another_line_would_be_noticed(traced, found):
    """The test above can fail: no call is seen a line further down."""
    answer = found[FIRST]
    wrong = replace(answer.place, number=answer.place.number - 1)
    seen = {way(call.frames)[-1] for call in calls_of(traced[0].lightning.events, answer.name)}
    assert answer.place in seen
    assert wrong not in seen


@pytest.mark.long
def test_a_side_that_fails_ends_the_trace_in_one_line_and_waits_for_nobody():
    programs = {"raw_pytorch": [("train", {"nonsense": 1})], "lightning": [("minimal", {})]}
    with pytest.raises(RunError, match=r"^tracing failed: TypeError: .* 'nonsense'$"):
        trace_programs(programs)
