"""The README says what is so: generated parts are up to date, and what it names is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.record import SIDES

from shared.docs import faults, readme
from shared.files import RUNS
from shared.mistakes.catalogue import mistakes
from shared.summary import print_summary

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-TW.md").read_text(encoding="utf-8")


def content(name: str) -> str:
    match = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.S)
    assert match, f"the README has no block {name}, or nothing in it: make readme"
    return match[1]


@pytest.mark.parametrize("name", ["bench", "claims"])
def test_every_number_of_the_bench_comes_from_the_file_that_is_kept(name):
    message = "out of date: make readme writes it anew, from shared/bench/measured/bench.json"
    assert content(name) == readme.from_bench()[name], message


@pytest.mark.parametrize("name", readme.from_source())
def test_generated_tables_are_up_to_date(name):
    message = "out of date: make readme writes it anew"
    assert content(name) == readme.from_source()[name], message


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
        for cell in (row[2], row[4]):
            assert float(cell.split("%")[0]) >= 99.0


def test_the_tables_of_faults_name_what_the_tests_break_and_nothing_else():
    message = "out of date: make test keeps the record, and make readme makes the tables of it"
    rows = [row.split(" | ") for row in content("faults").splitlines()[2:]]
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    single = [row.split(" | ") for row in page.splitlines() if row.startswith("| ")][2:]
    tested = sorted(faults.marked())
    assert len(tested) >= 8
    assert sorted(name for row in rows for name in row[1].split("; ")) == tested, message
    assert sorted(row[1] for row in single) == tested, message
    assert {row[-1] for row in [*rows, *single]} == {"0 |"}, "something was lost"


def test_make_targets_and_programs_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))
    assert len(targets) >= 7
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
    name = r"(?:raw_pytorch|lightning|shared)[\w.]*"
    programs = set(re.findall(rf"python -m ({name}(?: train| test| predict)?)", README))
    assert len(programs) >= 4
    for program in programs:
        path = ROOT / program.split()[0].replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), program


def test_files_and_tests_that_it_names_exist():
    for name in set(re.findall(r"`((?:raw_pytorch|lightning|shared|tests)/[\w./]+\.py)`", README)):
        assert (ROOT / name).is_file(), name


def test_it_is_shorter_than_200_lines():
    assert len(README.splitlines()) < 200


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="0 blocks"):
        readme.generate("nothing here", {"output": "text"})


def test_measured_blocks_stay_where_nothing_was_measured():
    assert not (RUNS / "accuracy").exists()
    assert readme.measured() == {}


def test_the_accuracy_table_comes_from_a_file_of_runs():
    runs = [
        {"implementation": side, "test_accuracy": 0.99 + seed / 1000, "fit_seconds": 2.0}
        for seed in range(5)
        for side in SIDES
    ]
    (RUNS / "accuracy").mkdir(parents=True)
    for name in ("digits", "mnist"):
        result = {"dataset": name, "epochs": 1, "runs": runs}
        (RUNS / "accuracy" / f"{name}.json").write_text(json.dumps(result))
    row = "| mnist | 1 | 99.20% (99.00%) | 2.0 s | 99.20% (99.00%) | 2.0 s |"
    assert row in readme.measured()["accuracy"]


def test_hooks_are_called_in_the_order_it_says(fit, monkeypatch):
    from lightning.module import ImageClassifier

    paragraph = re.search(r"\*\*owns the loop\*\*.*?\n- ", README, re.S)[0]
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


GENERATED = (
    "output", "files", "concerns", "accuracy", "bench", "claims", "mistakes", "faults",
)  # fmt: skip


@pytest.mark.parametrize("name", GENERATED)
def test_the_chinese_one_has_the_same_generated_tables_in_chinese(name):
    block = re.compile(rf"<!-- {name} -->\n(.+?)\n<!-- /{name} -->", re.S)
    shown = block.search(CHINESE)[1]
    expected = readme.from_bench(code="zh").get(name) or readme.in_chinese(content(name))
    assert shown == expected, "out of date: make readme writes it anew"
    # All but the output of the programs, which speak English.
    assert bool(re.search(r"[\u4e00-\u9fff]", shown)) == (name != "output")


@pytest.mark.parametrize("name", [name for name in GENERATED if name != "output"])
def test_no_words_are_left_in_english_in_the_chinese_one(name):
    block = re.search(rf"<!-- {name} -->\n(.+?)\n<!-- /{name} -->", CHINESE, re.S)
    assert block is not None
    sentences = re.findall(r"(?:\b[a-z]+\b[ ,]+){2,}\b[a-z]+\b", re.sub("`[^`]*`", "", block[1]))
    assert sentences == [], "shared/docs/readme.yaml has no Chinese for these"


def test_every_mistake_of_the_gallery_has_its_words_in_chinese():
    for mistake in mistakes():
        in_table = readme.in_chinese(f"| {mistake.name} |")
        assert in_table == f"| {mistake.shown['zh']} |" != f"| {mistake.name} |"


def test_the_chinese_one_has_the_same_code_the_same_numbers_and_the_same_parts():
    def without_tables(text: str) -> str:
        for name in GENERATED:
            text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", "", text, flags=re.S)
        return text

    english, chinese = map(without_tables, (README, CHINESE))
    for what in (
        r"```.*?```",  # commands
        r"`[^`\n]+`",  # names of code
        r"(?<![\w.])\d[\d,./]*\d(?![\w.])|(?<![\w.])\d(?![\w.])",  # numbers
        r"^#+ ",
        r"^(?:- |\|)",
    ):
        found = [sorted(re.findall(what, text, re.S | re.M)) for text in (english, chinese)]
        if what.startswith("`["):
            english, chinese = (re.sub(what, "", text) for text in (english, chinese))
        if what.startswith("```"):
            english, chinese = (re.sub(what, "", t, flags=re.S) for t in (english, chinese))
        assert found[0] == found[1], what
        assert found[0], what
