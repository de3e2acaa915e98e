"""What a learner types, sees and keeps: hints, solutions, another puzzle, and progress."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from support.learner import ALL, CHINESE, ENGLISH, FIRST, QUESTIONS
from support.programs import ROOT, wait_for

from shared.compare.trace.events import OperationCall, Trace
from shared.compare.trace.where import source
from shared.divergence.command import Command, record
from shared.divergence.comparing.differences import compare
from shared.errors import RunError
from shared.puzzles.__main__ import language_of
from shared.puzzles.catalogue import COPIES
from shared.puzzles.judging import Verdict
from shared.puzzles.progress import PATH, Place, next_unsolved, read_progress, write_progress
from shared.puzzles.reading import truth
from shared.puzzles.screen import WIDTH, sparkline, width, wrapped
from shared.puzzles.session import Keyboard, Session
from shared.puzzles.trying import Try


class Typist:
    """Types the next word, or edits the file, whenever the session asks for a word."""

    def __init__(self, *actions: str | Callable[[], object]) -> None:
        self.actions = list(actions)
        self.lines: list[str] = []
        reading, self.writing = os.pipe()
        self.keyboard = Keyboard(reading)

    def show(self, line: str) -> None:
        self.lines.append(line)
        asked = line.startswith(("hint, solution", "Put the puzzle", "Hint", "The puzzle is as"))
        if (asked or line == "make puzzle N=2 opens puzzle 2.") and self.actions:
            action = self.actions.pop(0)
            if isinstance(action, str):
                os.write(self.writing, action.encode() + b"\n")
            else:
                action()


def test_a_learner_asks_for_hints_mends_the_file_and_leaves(forks):
    typist = Typist(
        "hint", "h", "hint", lambda: FIRST.copy.write_text(FIRST.solution()), "list", "quit"
    )
    session = Session(ALL, forks, ENGLISH, typist.keyboard, typist.show)
    assert session.run(FIRST) == 0
    said = "\n".join(typist.lines)
    assert session.loading() == [], "what is loaded once is said once"
    places = [said.index(part) for part in (
        "Puzzle 1 of", "training loss", "Not yet:", "Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3",
        "Solved: 30 steps", "With Lightning",
        f"1 of {len(ALL)} solved", "✓  1", "hints: 3",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "zero_grad" not in said[: places[3]], "the first view gives nothing away"
    assert all(width(line) <= 80 for line in typist.lines)
    assert read_progress() == {1: Place(solved=True, hints=3)}
    assert sorted(path.name for path in COPIES.iterdir()) == ["progress.json", FIRST.name]


def session_of(typist: Typist, verdict: Verdict | None = None) -> Session:
    """A session that runs nothing."""
    session = Session(ALL, None, ENGLISH, typist.keyboard, typist.show)  # type: ignore[arg-type]
    session.verdict = verdict
    return session


def test_words_by_their_first_letter_and_numbers_open_another_puzzle():
    session = session_of(Typist())
    assert session.obey(FIRST, "3") is ALL[2]
    assert session.obey(FIRST, "n") is session.obey(FIRST, "Next") is ALL[1]
    assert session.obey(FIRST, "quit") is None
    for word in ("", "99", "what?"):
        assert session.obey(FIRST, word) is FIRST
    write_progress(2, Place(solved=True))
    assert session.obey(FIRST, "next") is ALL[2]


def test_what_a_learner_wrote_is_lost_only_on_yes():
    COPIES.mkdir(parents=True)
    FIRST.copy.write_text("mine")
    session_of(Typist("no")).obey(FIRST, "reset")
    assert FIRST.copy.read_text() == "mine"
    session_of(Typist("yes")).obey(FIRST, "reset")
    assert FIRST.copy.read_text() == FIRST.kept.read_text()


def test_the_solution_is_shown_when_asked_for_and_that_is_remembered():
    typist = Typist()
    session_of(typist).obey(FIRST, "solution")
    assert "  +        optimizer.zero_grad()" in typist.lines
    assert read_progress()[1] == Place(shown=True)


def test_a_file_that_is_gone_is_said_and_nothing_ends(right):
    typist = Typist()
    session_of(typist).check(FIRST, right, 10)
    assert typist.lines == [f"{FIRST.copy} is gone; reset brings it back."]


def test_a_try_that_takes_long_is_said_to_be_running(monkeypatch, right):
    typist, lines = Typist(), []

    def slow(*_: object) -> Try:
        lines.extend(typist.lines)
        wait_for(lambda: typist.lines)
        return right

    monkeypatch.setattr("shared.puzzles.session.PATIENCE", 0.1)
    monkeypatch.setattr("shared.puzzles.session.run_file", slow)
    session_of(typist).check(FIRST, right, 10)
    assert lines == [] and typist.lines[0].startswith("It is still running; after 10 s")


def test_the_end_of_stdin_ends_the_session():
    typist = Typist()
    os.close(typist.writing)
    with pytest.raises(EOFError):
        typist.keyboard.line(10)


def test_progress_of_two_sessions_is_kept_and_a_damaged_file_is_named():
    write_progress(1, Place(solved=True))
    write_progress(2, Place(hints=1))
    assert read_progress() == {1: Place(True), 2: Place(hints=1)}
    assert next_unsolved(ALL) is ALL[1]
    assert next_unsolved(ALL, 2) is ALL[2]
    for damaged in ("{", "[]", '{"one": {}}', '{"1": {"other": 1}}', '{"1": 1}'):
        PATH.write_text(damaged)
        with pytest.raises(RunError, match=r"progress\.json: cannot be read"):
            read_progress()
    PATH.write_text(json.dumps({}))
    assert read_progress() == {}


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "zh_TW.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_TW"}, "zh"),
    ],
)
def test_the_language_is_that_of_the_system(environment, language):
    assert language_of(environment) == language


@pytest.mark.parametrize("number", ["0", "-1", "99", "one", "1.5"])
def test_a_number_that_no_puzzle_has_is_a_wrong_use(command, one_line, number):
    done = command("shared.puzzles", "--", number)
    assert done.status == 2
    one_line(done.err, "N: got", number, f"from 1 to {len(ALL)}")


def test_the_list_is_shown_without_loading_anything(command):
    done = command("shared.puzzles", "--language", "zh")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == CHINESE.the_list(ALL, {})[0]


def test_what_another_job_has_left_in_the_environment_is_forgotten(command, monkeypatch):
    left = {"WORLD_SIZE": "2", "SLURM_NTASKS": "2", "MASTER_ADDR": "10.255.255.1"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)

    def leave() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shared.puzzles.__main__.open_forks", leave)
    assert command("shared.puzzles", "1").status == 0
    assert not left.keys() & os.environ.keys()


@pytest.mark.long
def test_a_run_in_a_fork_is_recorded_as_that_of_a_process_is(forks, tmp_path):
    shutil.copy(ROOT / "tests/support/fixtures/plain_script.py", tmp_path / "program.py")
    command = Command(["python"], ["program.py"])
    paths = tmp_path / "process.jsonl", tmp_path / "fork.jsonl"
    process, ended = record(command, paths[0], 10, 120, tmp_path)
    fork, how = record(command, paths[1], 10, 120, tmp_path, forks.popen)
    assert how == ended and process.steps and compare(process, fork) == compare(process, process)
    assert process.end is not None and fork.end is not None
    assert fork.end["lightning"] is process.end["lightning"] is False
    places = [[step.backwards[0]["where"] for step in run.steps] for run in (process, fork)]
    assert places[0] == places[1] and places[0][0]


@pytest.mark.long
def test_ctrl_c_leaves_quietly():
    process = subprocess.Popen(
        [sys.executable, "-m", "shared.puzzles", "1"], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Where the tests run in the background, it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    while "Loading" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, "or make would call it an error"
    assert process.communicate()[1] == ""


def test_lines_break_where_both_languages_allow_it():
    text = "這個迴圈用 AdamW 訓練三個 epoch。損失應該從第一步開始下降。" * 2
    lines = wrapped(text, "  ")
    assert len(lines) == 2 and all(width(line) <= WIDTH for line in lines)
    assert "".join(line[2:] for line in lines).replace(" ", "") == text.replace(" ", "")
    assert not any(line.strip()[0] in "。" for line in lines)
    assert wrapped("a " * 60) == [("a " * 39).strip(), ("a " * 21).strip()]


def test_a_curve_in_one_line():
    assert sparkline([0.0, 1.0, 2.0]) == "▁▄█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([1.0, float("nan"), 2.0, float("inf")]) == "▁×█×"
    assert sparkline([float("nan")]) == "×"
    assert len(sparkline([float(i) for i in range(1000)])) == 40


def test_a_learner_answers_a_question():
    puzzle, file = QUESTIONS[0], "pytorch_lightning/core/module.py"
    number = [line.strip() for line in source(file)].index("optimizer.zero_grad()") + 1
    frame = (file, number, "LightningModule.optimizer_zero_grad")
    trace = Trace("", [OperationCall("optimizer.zero_grad", [frame], [], False)])
    right = truth(puzzle.question, trace)
    assert right.line is not None
    typist = Typist()
    typed = ("core/module.py:1", "h", "hint", "reset", right.line.place, "s", "quit")
    os.write(typist.writing, "".join(f"{word}\n" for word in typed).encode())
    session = session_of(typist)
    session.trace = trace
    assert session.run(puzzle) == 0
    said = "\n".join(typist.lines)
    places = [said.index(part) for part in (
        "the file is right", "Hint 1 of 3", "Hint 2 of 3", "an answer; or", "Right:", "next opens",
    )]  # fmt: skip
    assert places[:3] == sorted(places[:3]) and places[4:] == sorted(places[4:])
    assert read_progress()[puzzle.number] == Place(solved=True, hints=2, shown=True)
    assert all(width(line) <= 80 for line in typist.lines)
