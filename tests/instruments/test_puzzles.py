"""Every puzzle is unsolved at first and solved by its kept solution, its hints tell the truth, and
whatever else a learner's file does gets one clear answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from shared.divergence.causes import KINDS, kind_of
from shared.errors import RunError
from shared.forks.client import Forks, open_forks
from shared.puzzles.__main__ import language_of
from shared.puzzles.catalogue import COPIES, FIND, PORT, Puzzle, puzzles
from shared.puzzles.judging import Verdict, judge
from shared.puzzles.progress import PATH, Place, next_unsolved, read_progress, write_progress
from shared.puzzles.saying import WORDS, Speaker
from shared.puzzles.screen import WIDTH, sparkline, width, wrapped
from shared.puzzles.session import Keyboard, Session
from shared.puzzles.trying import Try, run_file

ALL = puzzles()
FIRST = ALL[0]
ENGLISH, CHINESE = Speaker("en"), Speaker("zh")
SPEAKERS = (ENGLISH, CHINESE)
# What stands for all where all would take too long; of the others, the session below solves one.
QUICK: set[int] = set()


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


def right_run(forks: Forks, puzzle: Puzzle) -> Try:
    if puzzle.track == PORT:
        return run_file(forks, puzzle.loop, 120)
    Path("right.py").write_text(puzzle.solution())
    return run_file(forks, Path("right.py"), 120)


@pytest.fixture(scope="module")
def right(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Try:
    """The right run of the first puzzle."""
    path = tmp_path_factory.mktemp("right") / "right.py"
    path.write_text(FIRST.solution())
    return run_file(forks, path, 120)


@pytest.mark.parametrize("puzzle", each(FIND))
def test_a_mistake_to_find_is_there_at_first_and_each_hint_tells_the_truth(forks, puzzle):
    source = puzzle.kept.read_text()
    verdict = judge(puzzle, tried(forks, source), right_run(forks, puzzle))
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
def test_a_puzzle_is_solved_by_its_kept_solution(forks, puzzle):
    mine = tried(forks, puzzle.solution())
    verdict = judge(puzzle, mine, right_run(forks, puzzle))
    assert (verdict.kind, verdict.what, mine.error) == ("solved", "", "")
    assert mine.weights


def test_all_texts_are_there_in_both_languages_and_fit_the_screen():
    assert len(ALL) >= 15 and [puzzle.number for puzzle in ALL] == [*range(1, len(ALL) + 1)]
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
