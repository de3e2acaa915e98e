"""The bench turns times into the numbers that it says, and shows what its file holds. Nothing here
asks how fast this machine is: the times are made up."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.made_up import made_up, made_up_bench

from shared.bench import bench, claims, peers
from shared.bench import figures as bench_figures
from shared.bench import tables as bench_tables
from shared.bench.plan import Task, make_noise, plan
from shared.bench.stopwatch import Stopwatch
from shared.bench.timing import Times, epoch_seconds, step_seconds, time_program
from shared.compare.page.words import LANGUAGES
from shared.data import load
from shared.docs import readme
from shared.errors import RunError
from shared.files import SIDES


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return made_up_bench()


def test_the_time_of_a_step_leaves_out_what_lies_between_epochs():
    steps = [epoch * 100.0 + i * 2.0 for epoch in range(3) for i in range(20)]
    assert step_seconds(steps, 20) == 2.0


def test_the_time_of_a_step_leaves_out_a_moment_in_which_the_machine_was_busy():
    steps = [i * 2.0 + (i >= 350) * 500 for i in range(1000)]
    assert step_seconds(steps, 1000) == 2.0


def test_the_time_of_a_step_counts_what_comes_every_few_steps():
    steps = [i * 2.0 + i // 10 * 5 for i in range(1000)]
    assert step_seconds(steps, 1000) == pytest.approx(2.5, rel=0.02)


def test_the_first_steps_are_left_out():
    steps = [i * 50.0 for i in range(10)] + [500 + i * 2.0 for i in range(100)]
    assert step_seconds(steps, 1000) == 2.0


def test_the_time_of_an_epoch_is_from_first_step_to_first_step():
    # Epochs of 10, 7 and 7 seconds; the first one is left out, and the last has no end.
    steps = [0.0, 1.0, 10.0, 11.0, 17.0, 18.0, 24.0, 25.0]
    assert epoch_seconds(steps, 2) == 7.0
    assert epoch_seconds(steps[:3], 2) == 10.0
    assert epoch_seconds(steps[:2], 2) is None


def test_too_few_steps_are_no_time():
    with pytest.raises(ValueError, match="too few"):
        step_seconds([1.0], 20)


def test_those_who_are_compared_alternate(result):
    runs = plan(None, Path("noise"), quick=False)
    limit = [task.who for task, _ in runs if (task.part, task.point) == ("limit", "16")]
    assert limit[:6] == [*SIDES, "limit", "limit", *SIDES[::-1]]
    digits = [task.who for task, _ in runs if task.part == "digits"]
    assert digits[:4] == [*SIDES, *SIDES[::-1]]


def test_without_mnist_the_limit_is_measured_on_noise(tmp_path):
    runs = plan(None, tmp_path, quick=False)
    assert "mnist" not in {task.part for task, _ in runs}
    flags = next(task.flags for task, _ in runs if task.part == "limit")
    assert str(tmp_path) in flags[-1] or str(tmp_path) in flags[3]


@pytest.mark.parametrize("images", [160, 640])
def test_noise_is_as_many_training_pictures_as_were_asked_for(tmp_path, images):
    make_noise(tmp_path / "noise", images)
    assert len(load("mnist", tmp_path / "noise")["train"]) == images


SCRIPT = """
import torch
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
for _ in range(7):
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
"""


def test_a_program_is_timed_as_it_is(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    times = time_program([str(tmp_path / "script.py")])
    assert len(times.steps) == 7
    assert 0 < times.steps[0] < times.steps[-1] < times.ended
    assert times.memory > 50_000_000


def test_a_program_is_left_after_the_steps_that_were_asked_for(tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr("os._exit", left.append)
    stopwatch = Stopwatch(tmp_path / "times.json", limit=3)
    stopwatch.step()
    stopwatch.step()
    assert left == []
    stopwatch.step()
    assert left == [0]
    assert len(json.loads((tmp_path / "times.json").read_text())["steps"]) == 3


def test_what_a_failing_program_said_last_is_reported(tmp_path):
    (tmp_path / "script.py").write_text("raise ValueError('broken on purpose')")
    with pytest.raises(RunError, match=r"status 1: ValueError: broken on purpose"):
        time_program([str(tmp_path / "script.py")])


def test_another_number_of_steps_than_planned_is_noticed():
    task = Task("digits", "", "lightning", (), images=128, epochs=2, whole=True)
    with pytest.raises(RunError, match="took 3 steps; expected 4"):
        bench.reduce(task, Times([1.0, 2.0, 3.0], 4.0, 1))


@pytest.fixture
def timed(monkeypatch) -> list[list[str]]:
    """`time_program` replaced: the programs that were run, each of 41 steps."""
    programs: list[list[str]] = []

    def fake(program: list[str], limit: int = 0) -> Times:
        programs.append(program)
        task = next(t for t, _ in plan(None, Path("noise"), True) if t.limit == limit)
        return made_up(task, 0)

    monkeypatch.setattr(bench, "time_program", fake)
    return programs


def test_an_interrupted_bench_keeps_what_it_has_and_is_taken_up(command, timed, monkeypatch):
    fake = bench.time_program

    def interrupted(*args: Any) -> Times:
        if len(timed) == 2:
            raise KeyboardInterrupt
        return fake(*args)

    arguments = ("--quick", "--only", "digits", "--data_dir", "nowhere")
    monkeypatch.setattr(bench, "time_program", interrupted)
    stopped = command("shared.bench.bench", *arguments)
    assert stopped.status == 130
    assert "2 of 4 runs are kept" in stopped.err
    assert len(json.loads(bench.UNFINISHED.read_text())["runs"]) == 2

    monkeypatch.setattr(bench, "time_program", fake)
    finished = command("shared.bench.bench", *arguments)
    assert finished.status == 0, finished.err
    assert "going on: 2 runs are there" in finished.out
    assert len(timed) == 4
    assert len(json.loads(bench.QUICK.read_text())["runs"]) == 4
    assert not bench.UNFINISHED.exists()
    assert not bench.FULL.exists()


def test_runs_of_other_code_are_never_mixed(command, timed, monkeypatch):
    bench.FOLDER.mkdir(parents=True)
    arguments = ("--quick", "--only", "digits", "--data_dir", "nowhere")
    command("shared.bench.bench", *arguments)
    bench.QUICK.rename(bench.UNFINISHED)
    monkeypatch.setattr(bench, "digest", lambda: "of other code")
    assert "starting anew" in command("shared.bench.bench", *arguments).out
    assert len(timed) == 8


def test_a_part_that_is_measured_anew_goes_into_the_whole_bench(command, timed, result):
    bench.FOLDER.mkdir(parents=True)
    whole = {**result, "machine": bench.describe_machine()}
    whole["settings"] = {"data_dir": False, "threads": 1, "accelerator": "cpu"}
    bench.FULL.write_text(bench.dumps(whole))
    outcome = command("shared.bench.bench", "--only", "digits", "--data_dir", "nowhere")
    assert outcome.status == 0, outcome.err
    made = json.loads(bench.FULL.read_text())["runs"]
    old = [row for row in whole["runs"] if row["part"] != "digits"]
    assert [row for row in made if row["part"] != "digits"] == old
    assert {row["step_us"] for row in made if row["part"] == "digits"} == {1000.0}
    whole["machine"] = {"cpu": "another"}
    bench.FULL.write_text(bench.dumps(whole))
    command("shared.bench.bench", "--only", "digits", "--data_dir", "nowhere")
    assert json.loads(bench.FULL.read_text())["runs"] == whole["runs"]


def test_a_wrong_part_is_one_line(command, one_line):
    wrong = command("shared.bench.bench", "--only", "speed")
    assert wrong.status == 2
    one_line(wrong.err, "--only", "speed", "digits")
    wrong = command("shared.bench.bench", "--threads", "many")
    assert wrong.status == 2
    one_line(wrong.err, "--threads", "many")


def test_the_share_of_the_limit_compares_neighbours_in_time(result):
    assert bench_tables.share(result, "16", "raw_pytorch").median == pytest.approx(0.9, abs=1e-3)
    # Every repetition was a percent slower than the one before, on both sides: no spread is left.
    assert bench_tables.share(result, "48", "lightning").text(".1%") == "64.3% (64.3%–64.3%)"


def test_the_overhead_of_an_epoch_is_a_line_over_its_steps(result):
    per_epoch, per_step = bench_tables.overhead_line(result)
    assert per_step == pytest.approx(404, abs=1)  # 400 µs, and a percent for the second repetition
    assert abs(per_epoch) < 0.1


def test_a_rung_adds_what_it_takes_longer_than_the_one_below(result):
    rows = {name: added for name, _, _, added in bench_tables.ladder(result)}
    assert rows["loop"] is None
    assert rows["trainer"].median == pytest.approx(428, abs=1)  # 400 µs, and a percent each round
    assert rows["log"].median == 0


def test_every_number_of_the_tables_comes_from_the_file(result):
    """Another file with other numbers gives other tables, in the same form."""
    other = json.loads(json.dumps(result))
    for row in other["runs"]:
        for key in ("step_us", "epoch_ms", "first_step_s", "total_s", "memory_mb"):
            row[key] = row[key] and row[key] * 3
    first, second = (bench_tables.main_rows(r)[1] for r in (result, other))
    for ours, theirs in zip(first, second, strict=True):
        assert ours[0] == theirs[0]
        for a, b in zip(ours[1:], theirs[1:], strict=True):
            assert a != b or a == b == ""


@pytest.mark.parametrize("name", bench_figures.FIGURES)
def test_every_figure_is_drawn_and_its_colours_are_replaced(result, name):
    svg = bench_figures.for_page(name, result)
    assert svg.startswith('<svg role="img"')
    assert "#0000f" not in svg
    assert "var(--lightning)" in svg


def test_figures_and_tables_do_without_the_parts_that_were_not_measured(result, tmp_path):
    part = {**result, "runs": [row for row in result["runs"] if row["part"] == "limit"]}
    assert "of the limit's speed" in bench_tables.terminal(part)
    bench_figures.draw_all(part, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["width.svg"]
    assert "#0000f" not in (tmp_path / "width.svg").read_text()


@pytest.mark.parametrize(
    ("line", "accuracy"),
    [
        ("Test set: Average loss: 0.0289, Accuracy: 9912/10000 (99%)", 0.9912),
        ("Test set: Average loss: 0.0289, Accuracy: 9899/10000 (99%)", 0.9899),
        ("test          accuracy 99.12%, loss 0.0264, weights of epoch 0", 0.9912),
        ("epoch 3 test_acc=0.9907", 0.9907),
        ("Accuracy of the network: 99 %", 0.99),
        ("acc 100%", 1.0),
        ("validation    accuracy 99.50%, loss 0.0264", None),
        ("Train accuracy: 9950/10000", None),
        ("Accuracy: 12/0", None),
        ("accuracy 9912%", None),
        ("inaccurate: 99%", None),
        ("val_acc=0.9950", None),
        ("loss 0.99", None),
    ],
)
def test_a_test_accuracy_is_read_from_what_programs_print(line, accuracy):
    assert peers.read_accuracy(line) == pytest.approx(accuracy)


def test_a_peer_is_stopped_when_it_has_reached_the_goal(tmp_path):
    program = "import time\nfor n in (5, 99, 7): print(f'Accuracy: {n}/100', flush=True)\n"
    (tmp_path / "fast.py").write_text(program + "time.sleep(60)")
    found = peers.time_to_goal([sys.executable, "fast.py"], tmp_path, 0.99, timeout=30)
    assert 0 < found["seconds"] < 30
    assert found["accuracy"] == 0.99
    assert found["status"] is None


def test_a_peer_that_never_reaches_it_is_told_so(tmp_path):
    (tmp_path / "poor.py").write_text("print('Accuracy: 98.7%')")
    found = peers.time_to_goal([sys.executable, "poor.py"], tmp_path, 0.99, timeout=30)
    assert found == {"seconds": None, "accuracy": 0.987, "status": 0}
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    found = peers.time_to_goal([sys.executable, "slow.py"], tmp_path, 0.99, timeout=1)
    assert found == {"seconds": None, "accuracy": None, "status": None}


@pytest.fixture(scope="module")
def peer_result(result) -> dict[str, Any]:
    seconds = {"raw_pytorch": 10.0, "lightning": 12.5, "mnist/main.py": 250.0}
    runs = [{"who": who, "seconds": s, "accuracy": 0.991} for who, s in seconds.items()]
    return {**result, "goal": 0.99, "runs": runs}


def test_the_peers_are_told_in_times_of_ours(peer_result):
    first, second = bench_tables.peer_rows(peer_result)
    assert first[1:] == ["10.0 (10.0–10.0)", "12.5 (12.5–12.5)"]
    assert second == ["as fast as `mnist/main.py`, which takes 250 s", "25.0 ×", "20.0 ×"]


def test_a_peer_that_did_not_reach_it_is_never_called_slower(peer_result):
    ours = [row for row in peer_result["runs"] if row["who"] in SIDES]
    runs = [*ours, {"who": "mnist/main.py", "seconds": None, "accuracy": 0.98}]
    rows = bench_tables.peer_rows({**peer_result, "runs": runs})
    assert rows[-1] == ["`mnist/main.py`, which reached 98.00% only", "–", "–"]


def test_peers_without_a_folder_or_scripts_are_one_line(command, one_line, tmp_path):
    for arguments, parts in (((), ("PEERS=FOLDER",)), ((tmp_path,), ("PEERS", tmp_path))):
        wrong = command("shared.bench.peers", *arguments)
        assert wrong.status == 2
        one_line(wrong.err, *parts)


@pytest.fixture(scope="module")
def numbers(result) -> dict[str, float]:
    return claims.numbers(result)


def test_the_claims_are_shown_with_numbers_and_a_verdict_in_both_languages(result):
    rows = claims.rows(result)
    assert len(rows) == 7
    for row in rows:
        for code in LANGUAGES:
            assert row["promise"][code]
            assert row["verdict"][code]
            assert "{" not in row["measured"][code]
        digits = [re.findall(r"[\d.,+-]*\d", row["measured"][code]) for code in LANGUAGES]
        assert sorted(digits[0]) == sorted(digits[1]), "not the same numbers in both languages"


def test_a_verdict_can_come_out_against_the_claim(numbers):
    assert claims.verdict("overhead", {**numbers, "digits_ms": 8, "mnist_ms": 300}) == "holds"
    assert claims.verdict("overhead", {**numbers, "digits_ms": 8, "mnist_ms": 301}) == "partly"
    assert claims.verdict("overhead", {**numbers, "digits_ms": 301, "mnist_ms": 400}) == "fails"
    assert claims.verdict("readable", {**numbers, "lines_lightning": 10**6}) == "fails"
    assert claims.verdict("mistakes", {**numbers, "impossible": 0}) == "partly"
    assert claims.verdict("integrations", {**numbers, "log_lightning": 10**6}) == "fails"


def test_every_verdict_that_can_be_given_has_its_words(numbers):
    for name in claims.texts():
        for numbers_ in (numbers, dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 1e9)):
            assert claims.verdict(name, numbers_) in claims.texts()[name]


def test_the_300_ms_are_reached_where_the_line_says(numbers):
    there = numbers["per_epoch_ms"] + numbers["steps_of_300"] * numbers["per_step_us"] / 1000
    assert there == pytest.approx(300)


def test_without_mnist_or_the_ladder_no_claims_are_shown(result):
    for part in ("mnist", "ladder", "steps", "digits"):
        rows = [row for row in result["runs"] if row["part"] != part]
        assert claims.rows({**result, "runs": rows}) == []


def test_the_readme_takes_its_blocks_from_the_files_of_a_bench(result, peer_result, tmp_path):
    assert readme.from_bench(tmp_path) == {}
    (tmp_path / "bench.json").write_text(bench.dumps(result))
    alone = readme.from_bench(tmp_path)
    (tmp_path / "peers.json").write_text(bench.dumps(peer_result))
    both = readme.from_bench(tmp_path)
    assert "A Processor, 1 of 2 cores, An OS" in alone["bench"]
    assert "mnist/main.py" in both["bench"] and "mnist/main.py" not in alone["bench"]
    assert alone["claims"] == both["claims"]
    chinese = readme.from_bench(tmp_path, "zh")
    for name in ("bench", "claims"):
        english_numbers, chinese_numbers = (
            sorted(re.findall(r"\d[\d.,]*\d|\d", text[name])) for text in (both, chinese)
        )
        assert english_numbers == chinese_numbers
        assert re.search(r"[\u4e00-\u9fff]", chinese[name])


def test_a_quick_bench_or_one_without_mnist_never_comes_into_the_readme(
    result, tmp_path, monkeypatch
):
    monkeypatch.setattr(readme, "MEASURED", tmp_path / "measured")
    bench.FOLDER.mkdir(parents=True)
    for name, with_mnist in (("quick", True), ("bench", False)):
        settings = {"data_dir": with_mnist}
        (bench.FOLDER / f"{name}.json").write_text(json.dumps({**result, "settings": settings}))
        readme.keep_bench()
        assert not (tmp_path / "measured").exists()
    whole = json.dumps({**result, "settings": {"data_dir": True}})
    bench.FULL.write_text(whole)
    readme.keep_bench()
    assert (tmp_path / "measured" / "bench.json").read_text() == whole
