"""The generated parts of the READMEs are up to date, and say what is so."""

from __future__ import annotations

import ast
import html
import json
import re
from pathlib import Path

import pytest
from support.readmes import ALL, BLOCKS, CHINESE, ENGLISH
from support.record import SIDES

from shared.docs import example, faults, loops, readme
from shared.files import RUNS
from shared.mistakes.catalogue import mistakes
from shared.processes import ROOT
from shared.summary import print_summary

MESSAGE = "out of date: make readme writes it anew"


def content(name: str) -> str:
    assert name in BLOCKS, f"no README has a block {name}, or nothing in it: make readme"
    return BLOCKS[name]


GENERATED = {**readme.from_source(), **readme.from_bench()}
GENERATED_IN_CHINESE = readme.from_bench(code="zh")


@pytest.mark.parametrize("name", GENERATED)
def test_what_follows_from_the_source_or_a_kept_bench_is_up_to_date(name):
    assert content(name) == GENERATED[name], MESSAGE


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_the_chinese_ones_have_the_same_generated_parts_in_chinese(name):
    folder = next(f for f, text in ENGLISH.items() if name in readme.blocks_of(text))
    shown = readme.blocks_of(CHINESE[folder])[name]
    expected = GENERATED_IN_CHINESE.get(name) or readme.in_chinese(content(name))
    assert shown == expected, MESSAGE
    # Programs and what they print are in English.
    if name not in ("loops", "output", "divergence"):
        assert re.search(r"[\u4e00-\u9fff]", shown)
        bare = re.sub("`[^`]*`", "", shown)
        english = re.findall(r"(?:\b[a-z]+\b[ ,]+){2,}\b[a-z]+\b", bare)
        assert english == [], "shared/docs/readme.yaml has no Chinese for these"


def test_the_loops_are_those_of_both_basic_programs():
    shown = [
        ast.parse(html.unescape(code))
        for code in re.findall('<pre lang="python">\n(.*?)</pre>', content("loops"), re.S)
    ]
    raw, lightning = (ast.parse((ROOT / side / "basic.py").read_text()) for side in SIDES)
    real = next(node for node in raw.body if isinstance(node, ast.For))
    part = shown[0].body[0]
    assert isinstance(part, ast.For) and len(part.body) > 5
    assert ast.dump(part.iter) == ast.dump(real.iter)
    assert [ast.dump(n) for n in part.body] == [ast.dump(n) for n in real.body[: len(part.body)]]
    everything = {ast.dump(node) for node in ast.walk(lightning)}
    assert [node for node in shown[1].body if ast.dump(node) not in everything] == []
    assert [ast.unparse(n).split("(")[0] for n in shown[1].body] == [
        "self.log", "self.log", "trainer = pl.Trainer", "trainer.fit",
    ]  # fmt: skip


def test_a_line_of_code_is_broken_where_it_stays_the_same_code():
    lines = ["f(1)  # why", "    total = add(first[0], second, third)"]
    assert loops.narrow(lines, 24) == ["f(1)", "  total = add(first[0],", "      second, third)"]
    with pytest.raises(ValueError, match="no place to break"):
        loops.narrow(["a_name_that_is_long = another_name"], 20)


def test_the_example_of_the_tool_names_lines_that_are_there():
    shown = content("divergence")
    found = re.findall(r"^[AB]  (\S+):(\d+)\n     (.*)$", shown, re.M)
    assert [name for name, *_ in found] == [example.NAME, "lightning/basic.py"]
    for name, number, line in found:
        path = "raw_pytorch/basic.py" if name == example.NAME else name
        real = (ROOT / path).read_text().splitlines()[int(number) - 1]
        assert " ".join(real.split()) == line, MESSAGE
    assert "zero_grad() is not called" in shown


@pytest.mark.long
def test_the_tool_reports_what_the_example_shows():
    def form(text: str) -> str:
        return re.sub(r"\d+\.\d+", "#", text)

    assert form(example.report()) == form(content("divergence")), MESSAGE


def test_the_shown_runs_ended_with_the_same_weights_and_the_promised_accuracy():
    shown = content("output")
    for word in ("weights", "best weights"):
        fingerprints = re.findall(rf"^{word} +([0-9a-f]{{64}})$", shown, re.M)
        assert len(fingerprints) == 2
        assert len(set(fingerprints)) == 1
    accuracies = [float(a) for a in re.findall(r"^test +accuracy ([\d.]+)%", shown, re.M)]
    assert len(accuracies) == 1  # the other side's shows the last lines only
    assert min(accuracies) >= 99


def test_the_shown_runs_look_like_real_ones(fit, capsys):
    summaries = [fit(side, run_dir=side) for side in SIDES]
    capsys.readouterr()
    for summary in summaries:
        print_summary(summary)
    real = capsys.readouterr().out.splitlines()
    shown = [line for line in content("output").splitlines() if line[0] not in "`$"]

    # Numbers and names differ from run to run; everything else is what the program prints.
    def form(line: str) -> str:
        return re.sub(r"[0-9a-f]{64}|[\d.,]+%?", "#", line).replace("epochs", "epoch")

    assert (len(real), len(shown)) == (16, 12)
    # The run folders are elsewhere, and so the last line is missing here.
    assert [form(line) for line in real[:7]] == [form(line) for line in shown[:7]]
    assert [form(line) for line in real[13:15]] == [form(line) for line in shown[8:10]]
    assert shown[11].startswith("raw_pytorch   the same weights, to the last bit, in version_")


def test_the_accuracy_table_reaches_what_the_design_promises():
    rows = [line.split("|")[1:-1] for line in content("accuracy").splitlines()[2:]]
    assert len(rows) == 2
    for row in rows:
        for cell in row[2:4]:
            assert float(cell.split("%")[0]) >= 99.0


def test_the_table_of_faults_names_what_the_tests_break_and_nothing_else():
    message = "out of date: make test keeps the record, and make readme makes the table of it"
    page = ALL[Path("tests/README.md")]
    assert page.startswith(faults.PAGE), message
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| ")][2:]
    tested = sorted(faults.marked())
    assert len(tested) >= 8
    assert sorted(row[1] for row in rows) == tested, message
    assert {row[-1] for row in rows} == {"0 |"}, "something was lost"


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="0 blocks"):
        readme.generate("nothing here", {"output": "text"})


def test_measured_blocks_stay_where_nothing_was_measured():
    assert not (RUNS / "accuracy").exists()
    assert readme.measured() == {}


def test_the_accuracy_table_comes_from_a_file_of_runs():
    runs = [
        {"implementation": side, "test_accuracy": 0.99 + seed / 1000}
        for seed in range(5)
        for side in SIDES
    ]
    (RUNS / "accuracy").mkdir(parents=True)
    for name in ("digits", "mnist"):
        result = {"dataset": name, "epochs": 1, "runs": runs}
        (RUNS / "accuracy" / f"{name}.json").write_text(json.dumps(result))
    row = "| mnist | 1 | 99.20% (99.00%) | 99.20% (99.00%) |"
    assert row in readme.measured()["accuracy"]


def test_hooks_are_called_in_the_order_it_says(fit, monkeypatch):
    from lightning.module import ImageClassifier

    paragraph = re.search("For one epoch: .*", ALL[Path("lightning/README.md")])[0]
    hooks = re.findall(r"`(\w+)`", paragraph)
    assert len(hooks) == 12
    called = []
    for hook in hooks:
        original = getattr(ImageClassifier, hook)

        def recorded(self, *args, hook=hook, original=original):
            called.append(hook)
            return original(self, *args)

        monkeypatch.setattr(ImageClassifier, hook, recorded)
    fit("lightning", fast_dev_run=True)
    assert called == hooks


def test_every_mistake_of_the_gallery_has_its_words_in_chinese():
    for mistake in mistakes():
        in_table = readme.in_chinese(f"| {mistake.name} |")
        assert in_table == f"| {mistake.shown['zh']} |" != f"| {mistake.name} |"
