"""The compare page and its table in the terminal say what the two runs left behind."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.made_up import made_up_bench

from shared import data
from shared.bench import claims, tables
from shared.compare import comparison, terminal, wrong_answers
from shared.compare.comparison import ComparedRuns, compare_runs
from shared.compare.page import page
from shared.compare.source import sidebyside
from shared.compare.source.concerns import concerns
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace.events import Trace
from shared.files import SIDES
from shared.reporting.words import LANGUAGES


@pytest.fixture(scope="module")
def html(compared: Path) -> str:
    return (compared / "index.html").read_text()


@pytest.fixture(scope="module")
def text(html: str) -> str:
    """What the page says, without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture(scope="module")
def pair(compared: Path, traces: list[Trace]) -> ComparedRuns:
    return compare_runs(*(compared / side for side in SIDES), traces=traces)


def changed(pair: ComparedRuns, **summary: Any) -> ComparedRuns:
    """The same two runs, but for these lines of the Lightning run's summary."""
    run = pair.lightning
    run = dataclasses.replace(run, summary={**run.summary, **summary})
    return dataclasses.replace(pair, lightning=run)


@pytest.mark.parametrize("side", SIDES)
def test_the_page_holds_what_the_summary_says(text, compared, side):
    summary = json.loads((compared / side / "summary.json").read_text())
    for name in ("weights_sha256", "best_weights_sha256", "run_dir", "device", "precision"):
        assert str(summary[name]) in text, name
    assert f"{summary['test_accuracy']:.2%}" in text
    assert f"{summary['val_accuracy']:.2%}" in text
    assert f"{summary['fit_seconds']:.2f} s" in text
    for name, version in summary["versions"].items():
        assert f"{name} {version}" in text


def test_the_verdict_follows_the_fingerprints(pair, html):
    assert pair.equal
    assert 'class="verdict equal"' in html
    for name in ("weights_sha256", "best_weights_sha256"):
        other = changed(pair, **{name: "0" * 64})
        assert not other.equal
        assert 'class="verdict different"' in page.render(other)


def test_the_page_shows_the_bench_that_was_made_and_the_claims(text):
    result = made_up_bench()
    parts, rows = tables.main_rows(result)
    assert parts == ["digits", "mnist"]
    for cell in (*rows[0][1:], *tables.ladder_rows(result)[0][2:]):
        assert cell in text
    assert tables.machine_line(result) in text
    shown = re.sub(r"\s", "", text)  # names of code have marks around them
    for row in claims.claim_rows(result):
        for words in (row.promise, row.measured, row.verdict):
            for code in LANGUAGES:
                assert re.sub(r"[\s`]", "", words[code]) in shown


def test_without_a_bench_the_page_has_no_such_section(pair):
    html = page.render(pair)
    assert not any(f'id="{name}"' in html or f'#{name}"' in html for name in ("bench", "claims"))


def test_the_page_asks_no_host_for_anything(html):
    links = re.findall(r'(?:src|href|action)="([^"]*)"', html)
    assert len(links) > 300
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(\s*[\"']?(?!#)", html.split("</style>")[0])


def test_names_from_outside_are_escaped(pair):
    evil = "<script>alert('run')</script>"
    rendered = page.render(changed(pair, run_dir=evil, device=evil, dataset=evil))
    assert evil not in rendered
    assert "&lt;script&gt;alert(" in rendered
    assert rendered.count("<script>") == 1


def test_every_line_of_both_sides_is_on_the_page(html):
    ids = re.findall(r'<div class="line" id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    expected = []
    for folder in (RAW, LIGHTNING):
        for file in sorted(folder.glob("*.py")):
            if file.name != "__init__.py":
                count = len(file.read_text().splitlines())
                expected += [f"{folder.name}/{file.name}:{n}" for n in range(1, count + 1)]
    assert len(expected) > 1200
    assert sorted(ids) == sorted(expected)


def test_the_code_is_shown_as_it_is_written():
    for file in (RAW / "train.py", LIGHTNING / "module.py"):
        shown = [unescape(re.sub(r"<[^>]+>", "", line.html)) for line in sidebyside.code(file)]
        assert shown == file.read_text().splitlines()


@pytest.mark.parametrize("name", ["module.py", "data.py", "train.py", "minimal.py"])
def test_what_has_the_same_concern_begins_beside_each_other(name):
    (file,) = [f for f in sidebyside.mirrored() if f.name == name]
    both = [pair for pair in file.pairs if pair.raw and pair.lightning]
    assert len(both) >= 4
    for folder, lines in (
        (RAW, [line for p in file.pairs for line in p.raw]),
        (LIGHTNING, [line for p in file.pairs for line in p.lightning]),
    ):
        assert [x.number for x in lines] == list(range(1, len(lines) + 1)), folder
    anchors = [dict(sidebyside.anchors(folder / name)) for folder in (RAW, LIGHTNING)]
    for pair in both[1:]:
        first = pair.raw[0].number, pair.lightning[0].number
        assert anchors[0][first[0]] == anchors[1][first[1]]


def test_a_file_that_only_raw_has_stands_beside_what_replaces_it():
    files = {file.name: file for file in sidebyside.only_raw()}
    assert {"checkpoint.py", "precision.py", "early_stopping.py"} <= set(files)
    (pair,) = files["early_stopping.py"].pairs
    assert any("EarlyStopping" in line.html for line in pair.lightning)
    assert "EarlyStopping(" in files["early_stopping.py"].instead


def test_lines_carry_the_concerns_that_the_table_counts():
    checked = 0
    for folder in (RAW, LIGHTNING):
        for tag, places in concerns(folder).items():
            for place in places:
                lines = {x.number: x for x in sidebyside.code(folder / place.file)}
                assert all(tag in lines[number].concerns for number in place.lines)
                checked += len(place.lines)
    assert checked > 300


def test_every_traced_line_is_named_with_its_counts(text, pair):
    for row in pair.rows:
        for site in row.lightning:
            assert f"{site.count}× {site.line.file}:{site.line.number}" in text
        for site in row.raw:
            assert f"{site.line.file.split('/')[1]}:{site.line.number}" in text
        assert row.override in text


def test_the_pictures_are_those_that_the_runs_got_wrong(pair):
    split = data.load("digits", "data")["test"]
    accuracy = pair.raw.summary["test_accuracy"]
    wrong = round((1 - accuracy) * len(split))
    assert wrong > 0
    assert len(pair.wrong) == min(wrong, wrong_answers.SHOWN)
    confidences = [m.raw[1] for m in pair.wrong]
    assert confidences == sorted(confidences, reverse=True)
    for mistake in pair.wrong:
        picture = np.array(Image.open(io.BytesIO(base64.b64decode(mistake.png))))
        assert (picture == 255 - split.images[mistake.index, 0].numpy()).all()
        assert mistake.truth == str(split.labels[mistake.index].item())
        assert mistake.raw == mistake.lightning
        assert mistake.raw[0] != mistake.truth


def test_the_largest_difference_between_the_curves_is_stated(pair):
    scalars = pair.lightning.scalars
    assert set(scalars) == {"train/loss", "val/loss", "train/accuracy", "val/accuracy"}
    step, value = max(scalars["val/loss"].items())
    bent = {**scalars, "val/loss": {**scalars["val/loss"], step: value + 0.125}}
    other = dataclasses.replace(pair, lightning=dataclasses.replace(pair.lightning, scalars=bent))
    assert "<strong>0.125</strong>" in page.render(other)
    assert "<strong>0.125</strong>" not in page.render(pair)


def test_both_runs_are_drawn(html):
    for quantity in ("loss", "accuracy"):
        for part in ("train", "val"):
            for side in SIDES:
                assert f"{part}/{quantity}, {side}" in html
            assert f"var(--{part})" in html
            assert f"var(--{part}-wide)" in html


def test_the_terminal_needs_80_columns_only(pair):
    report = terminal.tables(pair)
    folders = [run.summary["run_dir"] for run in (pair.raw, pair.lightning)]
    lines = [line for line in report.splitlines() if not line.endswith(tuple(folders))]
    assert len(lines) > 60
    assert max(map(len, lines)) <= 80
    assert report.count(pair.raw.summary["weights_sha256"]) >= 1
    assert "Equal to the last bit" in report
    assert "core/module.py" in report
    for name, version in pair.raw.summary["versions"].items():
        assert f"{name} {version}" in " ".join(report.split())
    names = [row.operation.name for row in pair.rows if row.raw and row.lightning]
    shown = [line[:26].rstrip() for line in report.split("where did the line go")[1].splitlines()]
    for name in names:  # a name that was cut says so
        assert name in shown or "…" + name[-25:] in shown


def test_two_runs_of_other_recipes_are_no_failure_but_said(
    compared, fit, command, monkeypatch, traces
):
    monkeypatch.setattr(comparison, "trace_both", lambda: traces)
    fit("lightning", run_dir="other", seed=1)
    folder = str(compared / "raw_pytorch")
    outcome = command("shared.compare", "--raw", folder, "--lightning", "other")
    assert outcome.status == 0
    assert "Different" in outcome.out
    assert "--seed" in outcome.out
    assert 'class="verdict different"' in Path("runs/compare/digits/index.html").read_text()


def test_the_same_recipe_with_other_weights_fails_and_leaves_the_page(
    compared, command, monkeypatch, traces, one_line
):
    monkeypatch.setattr(comparison, "trace_both", lambda: traces)
    shutil.copytree(compared / "lightning", "bent")
    summary = json.loads(Path("bent/summary.json").read_text())
    Path("bent/summary.json").write_text(json.dumps({**summary, "weights_sha256": "0" * 64}))
    folder = compared / "raw_pytorch"
    outcome = command("shared.compare", "--raw", folder, "--lightning", "bent")
    assert outcome.status == 1
    one_line(outcome.err, "different weights")
    assert Path("runs/compare/digits/index.html").is_file()


@pytest.mark.long
def test_it_trains_both_sides_with_the_flags_it_is_given(command, monkeypatch, traces):
    monkeypatch.setattr(comparison, "trace_both", lambda: traces)
    monkeypatch.setenv("PYTHONPATH", str(RAW.parent))
    outcome = command("shared.compare", "--max_epochs", "1", "--seed", "5")
    assert outcome.status == 0, outcome.err
    for side in SIDES:
        summary = json.loads(Path(f"runs/{side}/digits/version_0/summary.json").read_text())
        assert (summary["epochs"], summary["seed"]) == (1, 5)
        assert summary["weights_sha256"] in outcome.out
    assert "most memory" in outcome.out
    assert "not measured" not in Path("runs/compare/digits/index.html").read_text()


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--raw", "x"], ["--lightning", "missing"]),
        (["--raw"], ["--raw", "expected the folder"]),
        (["--raw", "x", "--lightning", "y"], ["--raw: x", "summary.json"]),
        (["--raw", "x", "--lightning", "y", "--seed", "1"], ["--seed", "not together"]),
        (["--run_dir", "x"], ["--run_dir", "leave it out"]),
        (["--fast_dev_run"], ["--fast_dev_run", "leave it out"]),
        (["--dataset", "letters"], ["--dataset", "digits"]),
    ],
)
def test_a_wrong_command_gets_one_line(command, one_line, arguments, parts):
    outcome = command("shared.compare", *arguments)
    assert outcome.status == 2
    one_line(outcome.err, *parts)


def test_swapped_folders_are_noticed(compared, command, one_line):
    swapped = [compared / "lightning", compared / "raw_pytorch"]
    outcome = command("shared.compare", "--raw", swapped[0], "--lightning", swapped[1])
    assert outcome.status == 2
    one_line(outcome.err, "--raw", "swapped")


def test_the_gallery_of_mistakes_is_a_section_once_it_was_made(compared, traces):
    pair = compare_runs(*(compared / side for side in SIDES), traces=traces)
    assert "<code>make mistakes</code>" in page.render(pair)
    outcome = {"test_accuracy": 0.5, "curves": {"train/loss": [2.0, 1.0, float("nan"), 0.5]}}
    row = {
        "mistake": "a <script> forgotten", "side": "raw_pytorch", "verdict": "another trap",
        "lightning": {"en": "x", "zh": "x"},
        "edits": [{"file": "train.py", "before": "a < b", "after": "pass"}],
        "wrong": {**outcome, "test_accuracy": 0.25}, "right": outcome, "instrument": "step 2 & 3",
    }  # fmt: skip
    Path("runs/mistakes").mkdir(parents=True)
    Path("runs/mistakes/mistakes.json").write_text(json.dumps({"rows": [row]}))
    html = page.render(pair)
    for part in ("a &lt;script&gt; forgotten", "- a &lt; b", "step 2 &amp; 3", "50.0%", "25.0%"):
        assert part in html
    assert "<script> forgotten" not in html
    # Three finite losses in each curve.
    assert [
        line.count(",") for line in re.findall(r'polyline class="\w+" points="(.*?)"', html)
    ] == [3, 3]
