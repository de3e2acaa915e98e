"""What the compare page says about "where did the line go" and about the hooks is what happened."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from shared.compare.source.concerns import concerns
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace.bookkeeping import LOOP, kept, loop_lines
from shared.compare.trace.events import Trace
from shared.compare.trace.operations import OPERATIONS
from shared.compare.trace.timeline import Moment, moments
from shared.compare.trace.where import Row, lines_of, trace_rows
from shared.compare.words import compare_words

# What a run of one process has no use for.
IDLE = {"all_reduce"}


@pytest.fixture(scope="session")
def table(traces: list[Trace]) -> dict[str, Row]:
    return {row.operation.name: row for row in trace_rows(*traces)}


@pytest.fixture(scope="session")
def timeline(traces: list[Trace]) -> list[Moment]:
    return moments(*traces)


def test_a_traced_run_is_still_the_same_run_on_both_sides(traces):
    raw, lightning = traces
    assert raw.weights_sha256 == lightning.weights_sha256


def test_every_operation_ran_on_both_sides(table):
    assert len(table) == len(OPERATIONS) > 40
    silent = {name for name, row in table.items() if not (row.raw_count and row.lightning_count)}
    assert silent == IDLE


def test_every_difference_in_count_is_explained_and_no_other(table):
    different = {f"why {name}" for name, row in table.items() if row.differs}
    assert {key for key in compare_words() if key.startswith("why ")} == different


def test_the_loop_s_own_calls_are_made_as_often_on_both_sides(table):
    for name in ("optimizer.zero_grad", "loss.backward", "clip_grad_norm_", "optimizer.step"):
        assert table[name].raw_count == table[name].lightning_count == 2, name


@pytest.mark.parametrize(
    "name, file, text",
    [
        ("loss.backward", "pytorch_lightning/core/module.py", "loss.backward("),
        ("optimizer.zero_grad", "pytorch_lightning/core/module.py", "optimizer.zero_grad("),
        ("optimizer.step", "pytorch_lightning/plugins/precision/precision.py", "optimizer.step("),
        ("batch.to", "lightning_fabric/utilities/apply_func.py", "data.to("),
        ("clip_grad_norm_", "pytorch_lightning/plugins/precision/precision.py", "clip_grad_norm_("),
        ("loss / n", "pytorch_lightning/loops/optimization/automatic.py", "/ normalize"),
    ],
)
def test_the_line_found_in_lightning_makes_the_call(table, name, file, text):
    (site,) = table[name].lightning
    assert site.line.file == file
    assert text in site.line.text
    assert (site.line.number, site.line.text) in [(n, t.strip()) for n, t in site.line.excerpt()]


def test_the_line_found_on_the_raw_side_makes_the_call(table):
    checked = 0
    for name, row in table.items():
        call = name.split(".")[-1] + "("
        if name[0].isalpha() and "." in name and row.operation.of != "metric":
            for site in row.raw:
                near = "".join(text for _, text in site.line.excerpt())
                checked += call in near
    assert checked >= 20


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


def test_what_is_named_to_override_or_to_set_exists(table):
    for name, row in table.items():
        assert row.override, name
        check_that_exists(row.override)


def test_a_hook_that_is_named_lies_on_the_way_to_the_call(table):
    for name, row in table.items():
        if row.operation.hook:
            assert row.override == row.operation.hook, name


def test_every_operation_belongs_to_a_concern_with_words(table):
    known = set(concerns(RAW)) & set(concerns(LIGHTNING))
    for row in table.values():
        assert f"tag {row.operation.tag}" in compare_words()
        assert row.operation.tag in known or row.operation.name in IDLE


def test_the_lines_of_the_loop_lead_to_what_they_call(table):
    source = (RAW / "train.py").read_text().splitlines()
    found = lines_of(table.values())
    for name, text in (("loss / n", "loss / config."), ("loss.backward", ".backward()")):
        number = next(i for i, line in enumerate(source, 1) if text in line)
        assert [row.operation.name for row in found["raw_pytorch/train.py", number]] == [name]
    inside = [number for file, number in found if file == "raw_pytorch/train.py"]
    assert len(inside) >= 35


def test_every_line_of_the_raw_loop_has_an_answer(table):
    answered = {number for file, number in lines_of(table.values()) if file == LOOP}
    answered |= {line.number for entry in kept() for line in entry.raw}
    assert len(loop_lines()) >= 40
    source = (RAW / "train.py").read_text().splitlines()
    assert [source[n - 1].strip() for n in loop_lines() if n not in answered] == []


def test_bookkeeping_names_lines_and_settings_that_exist():
    for entry in kept():
        assert entry.raw, entry
        assert entry.lightning, entry
        check_that_exists(entry.change)


def test_the_timeline_has_every_part_of_the_epoch_in_order(timeline):
    parts = list(dict.fromkeys(moment.part for moment in timeline))
    assert parts == ["setup", "sanity", "start", "batch 0", "batch 1", "validation", "end"]
    assert timeline[-1].name == "teardown"


def test_a_batch_runs_through_its_hooks_in_lightning_s_order(timeline):
    expected = [
        "transfer_batch_to_device", "on_train_batch_start", "optimizer_step", "training_step",
        "on_before_zero_grad", "optimizer_zero_grad", "on_before_backward", "backward",
        "on_after_backward", "on_before_optimizer_step", "configure_gradient_clipping",
        "lr_scheduler_step", "on_train_batch_end",
    ]  # fmt: skip
    for part in ("batch 0", "batch 1"):
        hooks = [m.name for m in timeline if m.part == part and m.on]
        assert [name for name in dict.fromkeys(hooks) if name in expected] == expected


def test_the_step_is_nested_in_the_hook_that_calls_it(timeline):
    batch = [m for m in timeline if m.part == "batch 0"]
    names = [m.name for m in batch]
    for name in ("training_step", "loss.backward", "optimizer.step"):
        assert batch[names.index(name)].depth > batch[names.index("optimizer_step")].depth


def test_an_operation_stands_beside_the_raw_line_that_does_the_same(timeline, table):
    batch = [m for m in timeline if m.part == "batch 1"]
    for name in ("loss.backward", "optimizer.step", "scheduler.step"):
        moment = next(m for m in batch if m.name == name)
        assert moment.raw in [site.lines for site in table[name].raw]
    assert [m for m in timeline if m.part == "sanity" and m.raw] == []


def test_both_languages_have_words_for_everything():
    assert len(compare_words()) > 80
    for key, texts in compare_words().items():
        assert set(texts) == {"en", "zh"}, key
        assert all(text.strip() for text in texts.values()), key


def test_the_source_of_installed_packages_is_named_without_the_machine_s_paths(traces):
    files = {frame[0] for trace in traces for call in trace.calls for frame in call.frames}
    assert len(files) > 20
    assert not any(Path(file).is_absolute() for file in files)
