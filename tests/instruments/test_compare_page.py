"""The compare page, and what `make compare` says in the terminal, hold what the two runs left."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.made_up import made_up_bench

from shared.bench import claims, tables
from shared.bench.results import read_bench
from shared.compare import __main__ as program
from shared.compare import terminal
from shared.compare.comparison import ComparedRuns, compare, read_runs
from shared.compare.page import page
from shared.compare.page.bench import KEPT, bench_section
from shared.compare.page.gallery import gallery
from shared.compare.page.page import Drawings
from shared.compare.source.code import highlight
from shared.compare.source.lines import LIGHTNING, RAW
from shared.compare.trace import tracing
from shared.compare.trace.tracing import Both
from shared.files import SIDES
from shared.mistakes.catalogue import GALLERY
from shared.reporting.words import LANGUAGES

DRAW = page.draw  # the real one


@pytest.fixture(scope="module")
def html(compared: Path) -> str:
    return (compared / "index.html").read_text()


@pytest.fixture(scope="module")
def text(html: str) -> str:
    """What the page says, without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture(scope="module")
def pair(compared: Path, traced: list[Both]) -> ComparedRuns:
    return compare(*read_runs(*(compared / side for side in SIDES)), traced)


@pytest.fixture(scope="module")
def drawings(pair: ComparedRuns) -> Drawings:
    with pytest.MonkeyPatch.context() as patch:
        bench = bench_section(made_up_bench(), quick=False)
        patch.setattr(page, "newest_bench", lambda: bench)
        return DRAW(pair.raw, pair.lightning)


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch: pytest.MonkeyPatch, drawings: Drawings) -> None:
    """Figures and files are drawn for one page, and not for each."""
    monkeypatch.setattr(page, "draw", lambda *_: drawings)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch, traced: list[Both]) -> None:
    """The programs are not traced once more."""
    monkeypatch.setattr(tracing, "trace_both", lambda _: traced)


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
    for name, version in summary["versions"].items():
        assert f"{name} {version}" in text


def test_only_the_bench_speaks_of_time(pair, compared):
    said = page.render(pair) + terminal.verdict(pair) + terminal.tables(pair)
    for side in SIDES:
        seconds = json.loads((compared / side / "summary.json").read_text())["fit_seconds"]
        assert f"{seconds:.2f} s" not in said


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
    assert f"{tables.machine_line(result)}; {result['date']}" in text
    shown = re.sub(r"\s", "", text)  # names of code have marks around them
    for row in claims.claim_rows(result):
        for words in (row.promise, row.measured, row.verdict):
            for code in LANGUAGES:
                assert re.sub(r"[\s`]", "", words[code]) in shown


def test_a_fresh_clone_shows_what_was_measured_with_its_machine_and_date(pair):
    html = unescape(page.render(pair, DRAW(pair.raw, pair.lightning)))
    kept = read_bench(KEPT)
    assert kept is not None
    assert f"{tables.machine_line(kept)}; {kept['date']}" in html
    exhibits = json.loads(GALLERY.read_text(encoding="utf-8"))
    assert len(gallery().shown) == len(exhibits["rows"]) > 40
    assert exhibits["date"] in html
    assert exhibits["machine"]["cpu"] in html
    assert all(row["found"] == row["expected"] for row in exhibits["rows"])


def test_the_gallery_is_the_one_that_was_made_here_once_it_was(pair, drawings):
    outcome = {"test_accuracy": 0.5, "curves": {"train/loss": [2.0, 1.0, float("nan"), 0.5]}}
    row = {
        "mistake": "a <script> forgotten", "side": "raw_pytorch", "verdict": "another trap",
        "lightning": {"en": "x", "zh": "x"},
        "edits": [{"file": "train.py", "before": "a < b", "after": "pass"}],
        "wrong": {**outcome, "test_accuracy": 0.25}, "right": outcome, "instrument": "step 2 & 3",
    }  # fmt: skip
    Path("runs/mistakes").mkdir(parents=True)
    Path("runs/mistakes/mistakes.json").write_text(json.dumps({"rows": [row]}))
    html = page.render(pair, dataclasses.replace(drawings, gallery=gallery()))
    for part in ("a &lt;script&gt; forgotten", "- a &lt; b", "step 2 &amp; 3", "50.0%", "25.0%"):
        assert part in html
    assert "<script> forgotten" not in html
    # Three finite losses in each curve.
    assert [
        line.count(",") for line in re.findall(r'polyline class="\w+" points="(.*?)"', html)
    ] == [3, 3]


def test_the_page_asks_no_host_for_anything_and_is_small(html):
    links = re.findall(r'(?:src|href|action)="([^"]*)"', html)
    assert len(links) > 100
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(\s*[\"']?(?!#)", html.split("</style>")[0])
    assert len(html.encode()) < 600_000


def test_names_from_outside_are_escaped(pair):
    evil = "<script>alert('run')</script>"
    rendered = page.render(changed(pair, run_dir=evil, device=evil, dataset=evil))
    assert evil not in rendered
    assert "&lt;script&gt;alert(" in rendered


def test_the_code_is_shown_as_it_is_written(html):
    checked = 0
    for folder in (RAW, LIGHTNING):
        for file in sorted(folder.glob("*.py")):
            source = file.read_text().rstrip("\n")
            shown = [unescape(re.sub(r"<[^>]+>", "", line)) for line in highlight(source)]
            assert shown == source.splitlines()
            name = f"{folder.name}/{file.name}"
            assert (f'data-file="{name}"' in html) == (file.name != "__init__.py")
            checked += len(shown)
    assert checked > 1200


def test_every_answer_can_be_linked_to(html, pair):
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
    assert set(data["answers"]) == {answer.key for answer in pair.answers}
    linked = {key for keys in re.findall(r'data-keys="([^"]+)"', html) for key in keys.split()}
    assert linked == set(data["answers"])
    for told in data["answers"].values():
        assert told["place"] in data["places"]
        assert not told["override"] or told["override"] in data["snippets"]


def test_the_largest_difference_between_the_curves_is_stated(pair, text):
    assert "train/loss Largest difference between two points 0 " in text
    scalars = {tag: dict(values) for tag, values in pair.lightning.scalars.items()}
    step = next(iter(scalars["val/loss"]))
    scalars["val/loss"][step] += 0.125
    run = dataclasses.replace(pair.lightning, scalars=scalars)
    bent = page.render(dataclasses.replace(pair, lightning=run))
    assert "0.125" in bent


def test_the_terminal_gets_the_verdict_three_lines_and_an_address(
    pair, compared, command, untraced
):
    arguments = [
        f"--{side}={compared / name}"
        for side, name in zip(("raw", "lightning"), SIDES, strict=True)
    ]
    outcome = command("shared.compare", *arguments)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("Same weights, to the last bit")
    assert lines[-1] == Path("runs/compare/digits/index.html").resolve().as_uri()
    longer = command("shared.compare", *arguments, "--tables").out.splitlines()
    assert len(longer) > 100
    names = {answer.name for answer in pair.answers if answer.kind}
    # A name that was cut says so.
    starts = {line[:26].rstrip() for line in longer}
    assert {name for name in names if {name, f"…{name[-25:]}"} & starts} == names


def test_the_terminal_needs_80_columns_only(pair):
    folders = [str(run.folder) for run in (pair.raw, pair.lightning)]
    report = f"{terminal.verdict(pair)}\n{terminal.tables(pair)}"
    lines = [line for line in report.splitlines() if not line.endswith(tuple(folders))]
    assert len(lines) > 60
    assert max(map(len, lines)) <= 80


def test_it_takes_the_newest_runs_with_this_configuration_and_trains_none(
    compared, command, monkeypatch, untraced
):
    for side in SIDES:
        folder = Path(f"runs/{side}/digits")
        for version in range(3):
            shutil.copytree(compared / side, folder / f"version_{version}")
        config = folder / "version_2" / "config.yaml"
        config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
        shutil.copytree(folder / "version_0", folder / "version_3")
        (folder / "version_3" / "summary.json").unlink()
    trained = []
    monkeypatch.setattr(program, "train", lambda side, _: trained.append(side))
    flags = "--max_epochs 1 --accelerator cpu --log_every_n_steps 7".split()
    outcome = command("shared.compare", *flags)
    assert outcome.status == 0, outcome.err
    for side in SIDES:
        assert f"runs/{side}/digits/version_1\n" in outcome.out
    assert trained == []


def test_a_side_without_such_a_run_is_trained_with_the_flags_that_were_given(
    compared, command, monkeypatch, untraced
):
    asked = []

    def train(side: str, argv: list[str]) -> Path:
        asked.append((side, argv))
        return compared / side

    monkeypatch.setattr(program, "train", train)
    flags = ["--max_epochs", "1", "--seed", "5"]
    assert command("shared.compare", *flags).status == 0
    assert asked == [(side, flags) for side in SIDES]


@pytest.mark.long
def test_it_trains_both_sides_and_traces_their_recipe(command, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(RAW.parent))
    outcome = command("shared.compare", "--max_epochs", "1", "--seed", "5", "--width", "8")
    assert outcome.status == 0, outcome.err
    for side in SIDES:
        summary = json.loads(Path(f"runs/{side}/digits/version_0/summary.json").read_text())
        assert (summary["epochs"], summary["seed"]) == (1, 5)
        assert summary["weights_sha256"][:8] in outcome.out


def test_two_runs_of_other_recipes_are_no_failure_but_said(compared, command, untraced):
    shutil.copytree(compared / "lightning", "other")
    config, summary = Path("other/config.yaml"), Path("other/summary.json")
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "weights_sha256": "0" * 64}))
    folder = str(compared / "raw_pytorch")
    outcome = command("shared.compare", "--raw", folder, "--lightning", "other")
    assert outcome.status == 0
    assert "not the same" in outcome.out
    assert "--seed" in outcome.out
    assert 'class="verdict different"' in Path("runs/compare/digits/index.html").read_text()


def test_the_same_recipe_with_other_weights_fails_and_leaves_the_page(
    compared, command, untraced, one_line
):
    shutil.copytree(compared / "lightning", "bent")
    summary = json.loads(Path("bent/summary.json").read_text())
    Path("bent/summary.json").write_text(json.dumps({**summary, "weights_sha256": "0" * 64}))
    folder = compared / "raw_pytorch"
    outcome = command("shared.compare", "--raw", folder, "--lightning", "bent")
    assert outcome.status == 1
    one_line(outcome.err, "different weights")
    assert Path("runs/compare/digits/index.html").is_file()


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
