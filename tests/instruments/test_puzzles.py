"""Every puzzle is unsolved at first and solved by its kept solution, its hints tell the truth, and
whatever else a learner's file does gets one clear answer."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.programs import ROOT

from shared.compare.trace.events import Trace
from shared.compare.trace.tracing import Both
from shared.divergence.causes import KINDS, kind_of
from shared.divergence.command import Command, record
from shared.divergence.comparing.differences import compare
from shared.errors import RunError
from shared.forks.client import Forks, open_forks
from shared.puzzles.__main__ import language_of
from shared.puzzles.catalogue import COPIES, FIND, PORT, READ, Puzzle, puzzles
from shared.puzzles.judging import Verdict, judge
from shared.puzzles.progress import PATH, Place, next_unsolved, read_progress, write_progress
from shared.puzzles.reading import check, clues, fresh_trace, truth
from shared.puzzles.saying import WORDS, Speaker
from shared.puzzles.screen import WIDTH, sparkline, width, wrapped
from shared.puzzles.session import Keyboard, Session
from shared.puzzles.trying import Try, run_file

ALL = puzzles()
FIRST = ALL[0]
ENGLISH, CHINESE = Speaker("en"), Speaker("zh")
SPEAKERS = (ENGLISH, CHINESE)
# What stands for all where all would take too long. The session below solves the first puzzle.
QUICK = {20}


def each(*tracks: str) -> list[object]:
    return [
        pytest.param(p, id=p.name, marks=() if p.number in QUICK else pytest.mark.long)
        for p in ALL
        if p.track in tracks
    ]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with open_forks() as started:
            yield started


def tried(forks: Forks, source: str, limit: float = 120) -> Try:
    Path("mine.py").write_text(source)
    return run_file(forks, Path("mine.py"), limit)


@pytest.fixture(scope="module")
def right_run(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Puzzle], Try]:
    """`right_run(puzzle)` is the run that a learner's has to equal, made once."""
    folder = tmp_path_factory.mktemp("right")

    @functools.cache
    def made(number: int) -> Try:
        puzzle = ALL[number - 1]
        if puzzle.track == PORT:
            return run_file(forks, puzzle.loop, 120)
        (folder / puzzle.name).write_text(puzzle.solution())
        return run_file(forks, folder / puzzle.name, 120)

    return lambda puzzle: made(puzzle.number)


@pytest.fixture(scope="module")
def right(right_run: Callable[[Puzzle], Try]) -> Try:
    """The right run of the first puzzle."""
    return right_run(FIRST)


@pytest.mark.parametrize("puzzle", each(FIND))
def test_a_mistake_to_find_is_there_at_first_and_each_hint_tells_the_truth(
    forks, right_run, puzzle
):
    source = puzzle.kept.read_text()
    verdict = judge(puzzle, tried(forks, source), right_run(puzzle))
    assert (verdict.kind, verdict.mine.how, verdict.mine.error) == ("differs", "finished", "")
    assert puzzle.mistake is not None and verdict.finding is not None
    assert (verdict.finding.cause, verdict.finding.step) == (puzzle.mistake.cause, puzzle.step)
    hints = [ENGLISH.hint(puzzle, number, verdict, source) for number in (1, 2, 3)]
    assert f"step {puzzle.step}," in hints[0][0]
    assert ENGLISH.text(WORDS[f"in {kind_of(puzzle.mistake.cause)}"]) in hints[0][0]
    assert puzzle.mistake.name in " ".join(hints[1])
    before, after = source.splitlines(), puzzle.solution().splitlines()
    line = next(i for i, (a, b) in enumerate(zip(before, after, strict=False), 1) if a != b)
    assert f"line {line}:" in hints[2][0]
    assert hints[2][1].strip() == before[line - 1].strip()


@pytest.mark.parametrize("puzzle", each(FIND, PORT))
def test_a_puzzle_is_solved_by_its_kept_solution(forks, right_run, puzzle):
    mine = tried(forks, puzzle.solution())
    verdict = judge(puzzle, mine, right_run(puzzle))
    assert (verdict.kind, verdict.what, mine.error) == ("solved", "", "")
    assert mine.weights


@pytest.mark.parametrize("puzzle", each(PORT))
def test_a_port_is_not_done_at_first_and_the_answer_is_short(forks, right_run, puzzle):
    verdict = judge(puzzle, tried(forks, puzzle.kept.read_text()), right_run(puzzle))
    assert verdict.kind in ("differs", "crashed", "points")
    lines = ENGLISH.verdict(puzzle, verdict, None)
    assert len(lines) <= 24 and all(width(line) <= 80 for line in lines)
    assert not any("child.py" in line or "<string>" in line for line in lines)
    if verdict.finding is not None:
        assert any(line.startswith("FIRST DIFFERENCE") for line in lines)
        assert any(f"loops/{puzzle.name}:" in line for line in lines)


def test_a_loop_by_hand_is_no_port(forks, right_run):
    puzzle = next(puzzle for puzzle in ALL if puzzle.number in QUICK)
    by_hand = replace(right_run(puzzle), copied="")
    assert by_hand.trainer_steps == 0
    assert judge(puzzle, by_hand, right_run(puzzle)).kind == "by-hand"
    copied = judge(puzzle, right_run(puzzle), right_run(puzzle))
    assert copied.kind == "copied" and copied.mine.copied.endswith(f"loops/{puzzle.name}")


@pytest.fixture(scope="session")
def trace(traced: list[Both]) -> Trace:
    """Lightning's side of the run with clipped gradients, as a puzzle traces it anew."""
    return next(both.lightning for both in traced if both.flag.startswith("--gradient_clip_val"))


QUESTIONS = [puzzle for puzzle in ALL if puzzle.track == READ]
# What the hooks are called, and what the lines of Lightning say.
RIGHT = {
    "optimizer.zero_grad": "zero_grad()", "loss.backward": "backward(", "batch.to": ".to(device",
    "scheduler.step": "scheduler.step(", "module.train": "restore(", "optimizer.step": ".step(",
    "after loss.backward": "on_after_backward", "before clip_grad_norm_":
    "on_before_optimizer_step", "around clip_grad_norm_": "configure_gradient_clipping",
    "around training_step": "optimizer_step",
}  # fmt: skip


@pytest.mark.parametrize("puzzle", QUESTIONS, ids=lambda p: str(p.question))
def test_a_question_has_one_right_answer_that_the_trace_knows(trace, puzzle):
    right = truth(puzzle.question, trace)
    assert puzzle.question is not None
    if right.line is None:
        assert right.name == RIGHT[f"{puzzle.question.kind} {puzzle.question.of}"]
        answers = [right.name, f"LightningModule.{right.name}", f" {right.name}() "]
        wrong = {"on_fit_start": "wrong name", "core/module.py:3": "want name", "?": "no answer"}
        said = [right.name.startswith(str(clues(right)[1][1]["part"])), len(clues(right)) == 3]
    else:
        assert RIGHT[puzzle.question.of] in right.line.text
        file, number = right.line.file, right.line.number
        short = "/".join(file.split("/")[-2:])
        answers = [right.line.place, f"{short}:{number}", f"/x/{file}:{number}", right.name]
        wrong = {
            f"{short}:{number - 1}": "near line", f"{short}:1": "wrong line",
            f"x{short}:{number}": "wrong file", "on_fit_start": "wrong name", "3 4": "no answer",
        }  # fmt: skip
        said = [file.startswith(clues(right)[0][1]["folder"]), clues(right)[1][1]["file"] == file]
    assert all(said)
    assert [check(answer, right) for answer in answers] == ["right"] * len(answers)
    assert {answer: check(answer, right) for answer in wrong} == wrong
    assert {*wrong.values(), *(key for key, _ in clues(right))} <= WORDS.keys()
    assert all(width(line) <= 80 for line in ENGLISH.truth(right))


@pytest.mark.long
def test_a_trace_made_while_one_waits_says_the_same(forks, trace):
    anew = fresh_trace(forks)
    for puzzle in QUESTIONS:
        assert truth(puzzle.question, anew) == truth(puzzle.question, trace)


def test_a_learner_answers_a_question(trace):
    puzzle = QUESTIONS[0]
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


def test_all_texts_are_there_in_both_languages_and_fit_the_screen(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert len(ALL) >= 35 and [puzzle.number for puzzle in ALL] == [*range(1, len(ALL) + 1)]
    for speaker in SPEAKERS:
        for puzzle in ALL:
            lines = speaker.opening(puzzle, len(ALL))
            assert len(speaker.text(puzzle.task).splitlines()) <= 3, puzzle.name
            assert all(width(line) <= WIDTH for line in lines), lines
        assert all(
            width(line) <= WIDTH for line in speaker.the_list(ALL, {1: Place(True, 3, True)})
        )
    assert all(set(words) == {"en", "zh"} and all(words.values()) for words in WORDS.values())
    assert {f"in {kind}" for kind in KINDS.values()} <= WORDS.keys()
    used = [english.count("{") for english in (words["en"] for words in WORDS.values())]
    assert used == [words["zh"].count("{") for words in WORDS.values()]


def test_the_right_line_is_named_after_other_lines_have_changed():
    source = FIRST.kept.read_text()
    line = FIRST.line(source)
    assert FIRST.line("# a line more\n" + source) == line + 1
    assert FIRST.line(source.replace("loss.backward()", "pass")) == 0
    said = ENGLISH.hint(FIRST, 3, None, source.replace("loss.backward()", "pass"))
    assert "changed too much" in " ".join(said)


# What a learner's file may do, the kind of answer, and a part of it in words.
LOOP = FIRST.kept.read_text()
STEP = "        optimizer.step()\n"
BAD = {
    "a syntax error": (LOOP.replace("loss.backward()", "loss.backward("), "syntax", "Line 37"),
    "a byte of zero": (LOOP + "\0", "syntax", "no Python yet"),
    "a crash": (LOOP.replace(STEP, "        optimizer.stop()\n"), "crashed", "Line 38: Attr"),
    "an error of another file": ("import none_such\n" + LOOP, "crashed", "Line 1: ModuleNotF"),
    "sys.exit": (LOOP.replace(STEP, "        raise SystemExit\n"), "left", "Line 38"),
    "os._exit": ("import os\n" + LOOP.replace(STEP, "        os._exit(0)\n"), "gone", "0 steps"),
    "a full screen": (
        "import sys\nwhile True:\n    sys.stdout.write('x' * 10000)\n", "flood", "megabyte",
    ),
    "no training": (
        "import torch\nmodule = torch.nn.Linear(2, 2)\nmodule(torch.ones(1, 2)).sum().backward()\n",
        "untrained", "Nothing was trained",
    ),
    "nothing at all": ("", "untrained", "Nothing was trained"),
    "the solution imported": (
        "from shared.puzzles.finds.puzzle_02 import module\n", "copied", "finds/puzzle_02.py",
    ),
    "the solution read": (
        f"print(open({str(FIRST.kept)!r}).read())\n" + FIRST.solution(), "copied", "Write it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_else_a_file_does_gets_one_clear_answer(forks, right, name):
    source, kind, part = BAD[name]
    verdict = judge(FIRST, tried(forks, source), right)
    assert verdict.kind == kind
    for speaker in SPEAKERS:
        lines = speaker.verdict(FIRST, verdict, None)
        assert 1 <= len(lines) <= 8
        assert "Traceback" not in " ".join(lines)
    assert part in " ".join(ENGLISH.verdict(FIRST, verdict, None))


def test_a_loop_that_never_ends_is_stopped_at_its_line(forks, right):
    began = time.monotonic()
    verdict = judge(FIRST, tried(forks, "import time\nwhile True:\n    time.sleep(1)\n", 1), right)
    assert time.monotonic() - began < 30
    assert (verdict.kind, verdict.mine.line) == ("endless", 3)
    assert "Line 3" in " ".join(ENGLISH.verdict(FIRST, verdict, None))


VALIDATED = "    val_loss, val_accuracy = evaluate(module, val_loader)\n"


def test_another_right_mending_counts(forks, right):
    mended = FIRST.solution().replace("optimizer.zero_grad()", "module.zero_grad()")
    assert mended != FIRST.solution()
    assert judge(FIRST, tried(forks, mended), right).kind == "solved"


@pytest.mark.long
def test_to_take_a_feature_out_does_not_count(forks, right):
    without = "    val_loss = val_accuracy = torch.zeros(())\n"
    mine = tried(forks, FIRST.solution().replace(VALIDATED, without))
    assert judge(FIRST, mine, right).kind != "solved"
    # Where nothing that is left differs, the missing calls are counted.
    run = replace(right.run, evaluations={}, numbers={})
    verdict = judge(FIRST, replace(right, run=run, points={}), right)
    assert (verdict.kind, verdict.what) == ("less", "module(...) in eval: 0 < 6")


def test_equal_steps_are_not_enough(right):
    assert judge(FIRST, right, right).kind == "solved"
    points = dict(right.points)
    (tag, step), value = points.popitem()
    for spoiled, what in (
        (points, f"{tag}, step {step}: - ≠ {value:.7g}"),
        ({**points, (tag, step): value + 0.5}, f"{tag}, step {step}: {value + 0.5:.7g} ≠"),
        ({**right.points, ("more", 1): 2.0}, "more, step 1: 2 ≠ -"),
    ):
        verdict = judge(FIRST, replace(right, points=spoiled), right)
        assert verdict.kind == "points" and verdict.what.startswith(what)
    assert judge(FIRST, replace(right, points={**right.points, ("epoch", 1): 2.0}), right).kind == (
        "solved"
    )
    assert judge(FIRST, replace(right, weights=""), right).kind == "no-module"
    assert judge(FIRST, replace(right, weights="other"), right).kind == "weights"


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
    assert process.wait(60) == 130
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
