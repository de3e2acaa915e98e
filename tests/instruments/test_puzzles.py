"""Every puzzle is unsolved at first and solved by its kept solution, its hints tell the truth, and
whatever else a learner's file does gets one clear answer."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.learner import ALL, CHINESE, ENGLISH, FIRST, QUESTIONS, SPEAKERS, tried
from support.programs import ROOT, is_gone, wait_for

from shared.divergence.causes import KINDS, kind_of
from shared.divergence.comparing.finding import Finding
from shared.puzzles.catalogue import FIND, PORT
from shared.puzzles.judging import judge
from shared.puzzles.progress import Place
from shared.puzzles.reading import check, clues, fresh_trace, truth
from shared.puzzles.saying import WORDS, first_difference
from shared.puzzles.screen import WIDTH, width

# What stands for all where all would take too long. The session below solves the first puzzle.
QUICK = {20}


def each(*tracks: str) -> list[object]:
    return [
        pytest.param(p, id=p.name, marks=() if p.number in QUICK else pytest.mark.long)
        for p in ALL
        if p.track in tracks
    ]


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
        kind = CHINESE.text(WORDS[f"in {kind_of(verdict.finding.cause)}"])
        assert f"在{kind}。" in CHINESE.verdict(puzzle, verdict, None)[-1]


def test_a_loop_by_hand_is_no_port(forks, right_run):
    puzzle = next(puzzle for puzzle in ALL if puzzle.number in QUICK)
    by_hand = replace(right_run(puzzle), copied="")
    assert by_hand.trainer_steps == 0
    assert judge(puzzle, by_hand, right_run(puzzle)).kind == "by-hand"
    copied = judge(puzzle, right_run(puzzle), right_run(puzzle))
    assert copied.kind == "copied" and copied.mine.copied.endswith(f"loops/{puzzle.name}")


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


def test_the_lines_of_a_difference_are_those_of_the_file_as_it_is_now(tmp_path):
    file, puzzle = tmp_path / "mine.py", next(p for p in ALL if p.track == PORT)
    assert FIRST.mistake is not None
    where = [(str(file), 1, "<module>")], [(str(puzzle.loop), 1, "<module>")]
    finding = Finding(FIRST.mistake.cause, 1, "", where=where)
    for line in ("first = 1", "and = another"):
        file.write_text(line + "\n")
        assert f"     {line}" in first_difference(finding, (file, puzzle.loop))


# What a learner's file may do, the kind of answer, and a part of it in words. Some by default.
FEW = {"a crash", "os._exit", "no training", "the solution read"}
LOOP = FIRST.kept.read_text()
STEP = "        optimizer.step()\n"
BAD = {
    "a syntax error": (LOOP.replace("loss.backward()", "loss.backward("), "syntax", "Line 37"),
    "a byte of zero": (LOOP + "\0", "syntax", "no Python yet"),
    "a crash": (LOOP.replace(STEP, "        optimizer.stop()\n"), "crashed", "Line 38: Attr"),
    "an error of another file": ("import none_such\n" + LOOP, "crashed", "Line 1: ModuleNotF"),
    "sys.exit": (LOOP.replace(STEP, "        raise SystemExit\n"), "left", "exit at line 38. A"),
    "os._exit": ("import os\n" + LOOP.replace(STEP, "        os._exit(0)\n"), "gone", "0 steps"),
    "a crash of a process that it starts": (
        "import torch.multiprocessing as mp\ndef work(rank):\n    rank.stop()\n"
        "mp.start_processes(work, nprocs=2, start_method='fork')\n",
        "crashed", "Line 3: AttributeError: 'int'",
    ),
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
        f"print(open({str(FIRST.kept)!r}).read())\n" + FIRST.solution(), "copied", "Write yours",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.long) for name in BAD]
)
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
    assert "stopped at line 3." in " ".join(ENGLISH.verdict(FIRST, verdict, None))
    assert "在第 3 行被停止" in "".join(CHINESE.verdict(FIRST, verdict, None))


def test_no_process_that_a_file_has_started_outlives_the_try(forks):
    source = "import os, pathlib, time\nimport torch.multiprocessing as mp\ndef work(rank):\n"
    source += f"    pathlib.Path({os.getcwd()!r}, str(os.getpid())).touch()\n    time.sleep(600)\n"
    source += "mp.start_processes(work, nprocs=2, start_method='fork')\n"
    mine = tried(forks, source, 2)
    assert (mine.how, mine.line) == ("endless", 6)
    started = [int(path.name) for path in Path().iterdir() if path.name.isdecimal()]
    assert len(started) == 2
    wait_for(lambda: all(is_gone(number) for number in started))


EXACT = next(p for p in ALL if "two processes" in p.task["en"])
SHARE = "Subset(test_set, range(self.global_rank, len(test_set), 2))"
COUNTED = (
    "self.accuracy.update(self.net(images).argmax(dim=1) == labels)\n"
    '        self.log("test/accuracy", self.accuracy)'
)
AVERAGED = (
    "accuracy = (self.net(images).argmax(dim=1) == labels).float().mean()\n"
    '        self.log("test/accuracy", accuracy, sync_dist={})'
)
COUNTED_WRONGLY = {
    "a sampler that pads": (
        {SHARE: "test_set", "    use_distributed_sampler=False,\n": ""},
        "test/pictures is 360 in A, 359 in B",
    ),
    "all in both": ({SHARE: "test_set"}, "test/pictures is 718 in A, 359 in B"),
    "the first share alone": ({COUNTED: AVERAGED.format(False)}, "test/accuracy is"),
    "a mean of two shares": ({COUNTED: AVERAGED.format(True)}, "test/accuracy is"),
    "one process": (
        {SHARE: "test_set", "devices=2": "devices=1"}, "test/processes is 1 in A, 2 in B",
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", COUNTED_WRONGLY)
def test_each_way_to_count_a_picture_twice_or_not_at_all_is_noticed(forks, right_run, name):
    changes, part = COUNTED_WRONGLY[name]
    source = EXACT.solution()
    for right, wrong in changes.items():
        assert right in source
        source = source.replace(right, wrong)
    verdict = judge(EXACT, tried(forks, source), right_run(EXACT))
    assert verdict.kind == "differs" and verdict.equal_steps == 19
    assert part in " ".join(ENGLISH.verdict(EXACT, verdict, None))


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
