"""The tables, figures and claims of a bench say what its file holds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.made_up import made_up_bench

from shared.bench import claims, figures, results, spreads, tables
from shared.bench.results import BenchResult
from shared.docs import readme
from shared.files import SIDES
from shared.reporting.words import LANGUAGES


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return made_up_bench()


def median_round(result, part: str, point: str, who: str) -> float:
    """How much slower the median repetition is than the first: each is a percent slower than the
    one before."""
    return 1 + 0.01 * (len(spreads.select(result, part, point, who)) - 1) / 2


def test_the_share_of_the_limit_compares_neighbours_in_time(result):
    assert spreads.share(result, "16", "raw_pytorch").median == pytest.approx(0.9, abs=1e-3)
    # Every repetition was a percent slower than the one before, on both sides: no spread is left.
    assert spreads.share(result, "48", "lightning").text(".1%") == "64.3% (64.3%–64.3%)"


def test_the_overhead_of_an_epoch_is_a_line_over_its_steps(result):
    per_epoch, per_step = spreads.overhead_line(result)
    assert per_step == pytest.approx(400 * median_round(result, "steps", "20", "lightning"), abs=1)
    assert abs(per_epoch) < 0.1


def test_a_rung_adds_what_it_takes_longer_than_the_one_below(result):
    rungs = {rung.name: rung for rung in spreads.rung_times(result)}
    assert rungs["loop"].added is None
    slower = median_round(result, "ladder", "", "trainer")
    assert rungs["trainer"].added.median == pytest.approx(400 * slower, abs=1)
    assert rungs["log"].added.median == 0
    assert rungs["written"].over_loop.median == rungs["trainer"].added.median


@pytest.mark.parametrize(("count", "outside"), [(1, 0), (5, 0), (6, 0), (9, 1), (30, 9), (40, 13)])
def test_a_range_leaves_out_what_the_median_may_not_be(count, outside):
    """The pairs of a table of the sign test at 5 %, for so many repetitions."""
    values = [float(number) for number in range(count)]
    found = spreads.spread(values[::-1])
    assert (found.least, found.most) == (values[outside], values[-1 - outside])
    assert found.median == (count - 1) / 2


def test_a_ratio_whose_range_holds_one_is_no_difference():
    assert tables.times_text(spreads.Spread(1.1, 0.99, 1.2)) == "no difference measured"
    assert tables.times_text(spreads.Spread(1.1, 1.01, 1.2)) == "1.10 (1.01–1.20) ×"
    assert tables.times_text(spreads.Spread(0.9, 0.8, 0.99), "zh") == "0.90 (0.80–0.99) ×"


def test_the_first_table_has_the_ratio_of_pairs_that_ran_in_turn(result):
    rows = {name: cells for name, *cells in tables.quick_rows(result)}
    assert len(rows) == 6
    # Both sides grew slower from pair to pair, and the ratio stayed.
    assert rows["s of CPU from command to first step"][2] == "1.80 (1.80–1.80) ×"
    assert rows["µs a step"][2] == "1.40 (1.40–1.40) ×"


def test_seconds_to_99_percent_are_only_told_where_every_run_came_there(result):
    name = "s from command to a tested model, at least 99% right"
    assert name in [row[0] for row in tables.quick_rows(result)]
    other = json.loads(json.dumps(result))
    next(row for row in other["runs"] if row["part"] == "mnist")["test_accuracy"] = 0.989
    assert name not in [row[0] for row in tables.quick_rows(other)]


def test_a_start_is_told_in_times_of_a_bare_import_and_of_a_bare_step(result):
    rows = {name: cells for name, *cells in tables.start_rows(result)}
    assert rows["raw_pytorch"][2].startswith("2.50 (2.50–2.50) × a bare `import torch`; 1.25")
    assert rows["lightning"][2] == "1.12 (1.12–1.12) × a bare `import pytorch_lightning`"


def test_two_threads_are_held_beside_one_in_the_same_position(result):
    other = json.loads(json.dumps(result))
    for row in other["runs"]:
        if (row["part"], row["point"], row["who"]) == ("beside", "2", "raw_pytorch"):
            row["fit_s"] *= 1.5
    cells = {tuple(row[:2]): row[4] for row in tables.thread_rows(other)}
    assert cells.pop(("beside another run", "raw_pytorch")) == "1.50 (1.50–1.50) ×"
    assert set(cells.values()) == {"no difference measured"}


def test_time_grows_along_a_straight_line(result):
    straight = spreads.line(result, "epochs", "raw_pytorch")
    # 20 steps of a millisecond, and ten for the epoch, which stay as they are.
    slower = median_round(result, "epochs", "1", "raw_pytorch")
    assert straight.each == pytest.approx(20 * slower + 10)
    assert straight.at_nothing == pytest.approx(0, abs=1e-6)
    assert straight.farthest == pytest.approx(0, abs=1e-6)
    assert spreads.line({**result, "runs": []}, "epochs", "raw_pytorch") is None


def test_every_number_of_the_tables_comes_from_the_file(result):
    """Another file with other numbers gives other tables, in the same form."""
    other = json.loads(json.dumps(result))
    for row in other["runs"]:
        for key in ("step_us", "epoch_ms", "fit_s", "start_s", "total_s", "memory_mb"):
            row[key] = row[key] and row[key] * 3
    first, second = (tables.main_rows(r)[1] for r in (result, other))
    for ours, theirs in zip(first, second, strict=True):
        assert ours[0] == theirs[0]
        for a, b in zip(ours[1:], theirs[1:], strict=True):
            assert a != b or a == b == ""


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_is_drawn_and_its_colours_are_replaced(result, name):
    svg = figures.svg_for_page(name, result)
    assert svg.startswith('<svg role="img"')
    assert "#0000f" not in svg
    assert "var(--lightning)" in svg


def test_figures_and_tables_do_without_the_parts_that_were_not_measured(result, tmp_path):
    part = {**result, "runs": [row for row in result["runs"] if row["part"] == "limit"]}
    assert "of the limit's speed" in tables.terminal(part)
    figures.write_figures(part, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["channels.svg", "width.svg"]
    assert "#0000f" not in (tmp_path / "width.svg").read_text()


@pytest.fixture(scope="module")
def peer_result(result) -> dict[str, Any]:
    seconds = {
        ("raw_pytorch", 1): 10.0, ("lightning", 1): 12.5, ("mnist/main.py", None): 250.0,
        ("raw_pytorch", 2): 5.0, ("lightning", 2): 6.25,
    }  # fmt: skip
    runs = [
        {"who": who, "threads": threads, "seconds": s, "accuracy": 0.991}
        for (who, threads), s in seconds.items()
    ]
    return {**result, "goal": 0.99, "runs": runs}


def test_the_peers_are_told_in_times_of_ours(peer_result):
    first, second, *times = tables.peer_rows(peer_result)
    assert first[1:] == ["10.0 (10.0–10.0)", "12.5 (12.5–12.5)"]
    assert second[1:] == ["5.0 (5.0–5.0)", "6.2 (6.2–6.2)"]
    than = "how many times faster than `mnist/main.py` (250 s), `--threads {}`"
    assert times == [
        [than.format(1), "25.0 ×", "20.0 ×"],
        [than.format(2), "50.0 ×", "40.0 ×"],
    ]


def test_a_peer_that_did_not_reach_it_is_never_called_slower(peer_result):
    ours = [row for row in peer_result["runs"] if row["who"] in SIDES]
    runs = [*ours, {"who": "mnist/main.py", "threads": None, "seconds": None, "accuracy": 0.98}]
    rows = tables.peer_rows({**peer_result, "runs": runs})
    assert rows[-1] == ["`mnist/main.py`, which reached 98.00% only", "–", "–"]


@pytest.fixture(scope="module")
def numbers(result) -> dict[str, float]:
    return claims.numbers(result)


def test_the_claims_are_shown_with_numbers_and_a_verdict_in_both_languages(result):
    rows = claims.claim_rows(result)
    assert len(rows) == 7
    for row in rows:
        for code in LANGUAGES:
            assert row.promise[code]
            assert row.verdict[code]
            assert "{" not in row.measured[code]
        digits = [re.findall(r"[\d.,+-]*\d", row.measured[code]) for code in LANGUAGES]
        assert sorted(digits[0]) == sorted(digits[1]), "not the same numbers in both languages"


def test_a_verdict_can_come_out_against_the_claim(numbers):
    assert claims.RULES["overhead"]({**numbers, "digits_ms": 8, "mnist_ms": 300}) == "holds"
    assert claims.RULES["overhead"]({**numbers, "digits_ms": 8, "mnist_ms": 301}) == "partly"
    assert claims.RULES["overhead"]({**numbers, "digits_ms": 301, "mnist_ms": 400}) == "fails"
    assert claims.RULES["readable"]({**numbers, "lines_lightning": 10**6}) == "fails"
    assert claims.RULES["mistakes"]({**numbers, "impossible": 0}) == "fails"
    assert claims.RULES["reproduce"]({**numbers, "exact_lightning": 0}) == "holds"


def test_every_verdict_that_can_be_given_has_its_words(numbers):
    for name, rule in claims.RULES.items():
        for numbers_ in (numbers, dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 1e9)):
            assert rule(numbers_) in claims.texts()[name]


def test_what_no_number_decides_is_called_a_judgement(result):
    rows = claims.claim_rows(result)
    judged = [row for row in rows if row.state == "judgement"]
    assert len(judged) == len(rows) - len(claims.RULES) > 0
    for row in judged:
        assert row.verdict["en"].startswith("a judgement: ")
        assert row.verdict["zh"].startswith("判斷")
    assert not any("judgement" in row.verdict["en"] for row in rows if row not in judged)


def test_the_300_ms_are_reached_where_the_line_says(numbers):
    there = numbers["per_epoch_ms"] + numbers["steps_of_300"] * numbers["per_step_us"] / 1000
    assert there == pytest.approx(300)


def test_without_mnist_or_the_ladder_no_claims_are_shown(result):
    for part in ("mnist", "ladder", "steps", "digits"):
        rows = [row for row in result["runs"] if row["part"] != part]
        assert claims.claim_rows({**result, "runs": rows}) == []


def test_the_readme_takes_its_blocks_from_the_files_of_a_bench(result, peer_result, tmp_path):
    assert readme.from_bench(tmp_path) == {}
    (tmp_path / "bench.json").write_text(results.dumps(result))
    alone = readme.from_bench(tmp_path)
    (tmp_path / "peers.json").write_text(results.dumps(peer_result))
    both = readme.from_bench(tmp_path)
    assert "A Processor, 1 of 2 cores, An OS" in alone["quick"]
    assert all(alone.values())
    assert "mnist/main.py" in both["bench"] and "mnist/main.py" not in alone["bench"]
    assert alone["claims"] == both["claims"]
    chinese = readme.from_bench(tmp_path, "zh")
    for name in chinese:
        english_numbers, chinese_numbers = (
            sorted(re.findall(r"\d[\d.,]*\d|\d", text[name])) for text in (both, chinese)
        )
        assert english_numbers == chinese_numbers
        assert re.search(r"[\u4e00-\u9fff]", chinese[name])


def test_a_quick_bench_or_one_without_mnist_never_comes_into_the_readme(
    result, tmp_path, monkeypatch
):
    monkeypatch.setattr(readme, "MEASURED", tmp_path / "measured")
    results.FOLDER.mkdir(parents=True)
    for name, with_mnist in (("quick", True), ("bench", False)):
        settings = {"data_dir": with_mnist}
        (results.FOLDER / f"{name}.json").write_text(json.dumps({**result, "settings": settings}))
        readme.keep_bench()
        assert not (tmp_path / "measured").exists()
    whole = json.dumps({**result, "settings": {"data_dir": True}})
    results.FULL.write_text(whole)
    readme.keep_bench()
    assert (tmp_path / "measured" / "bench.json").read_text() == whole


def test_the_newest_times_of_the_programs_of_others_are_kept(peer_result, tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "MEASURED", tmp_path / "measured")
    results.FOLDER.mkdir(parents=True)
    results.PEERS.write_text(results.dumps(peer_result))
    readme.keep_bench()
    assert (tmp_path / "measured" / "peers.json").read_text() == results.PEERS.read_text()
