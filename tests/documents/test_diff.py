"""`make diff` shows both codes beside each other: all of them, aligned, in the order in which one
reads them, on any width of screen, and before anything is installed."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.programs import ROOT

from shared.compare import diff
from shared.compare.diff import COLOURS, Block, Style, align, differing, draw, fold

PROGRAM = ["-m", "shared.compare.diff"]
ESCAPE = re.compile(r"\x1b\[\d+m")


def drawn(left: str, right: str, width: int = 80, style: Style | None = None) -> list[str]:
    """Two texts beside each other, as rows of a screen."""
    blocks = align(left.splitlines(), right.splitlines())
    return [row for block in blocks for row in draw(block, width, style or Style())]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`project("raw_pytorch/module.py", ...)` makes a project of these files."""

    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'"""Of {name}.\n\nLightning: Trainer({path.stem}=...)\n"""\n')
        monkeypatch.setattr(diff, "ROOT", tmp_path)

    return make


# Which lines face each other


def test_equal_lines_face_each_other_whatever_stands_between_them() -> None:
    left = "import a\nfirst\nsecond\nthird\nlast()\n"
    right = "import a\nother\nlast()\n"
    assert align(left.splitlines(), right.splitlines()) == [
        Block(["import a"], ["import a"], True),
        Block(["first", "second", "third"], ["other"], False),
        Block(["last()"], ["last()"], True),
    ]


def test_a_line_faces_the_version_of_it_and_not_the_nearest() -> None:
    left = ["x = 1", "model = Network(width, depth)", "y = 2"]
    right = ["model = Network(width)", "z = 3"]
    assert Block([left[1]], [right[0]], True) in align(left, right)


def test_lines_of_the_same_concern_face_each_other_though_no_word_is_the_same() -> None:
    left = ["a = 1", "b = 2", "for x in y:  # [train] loop", "    step()"]
    right = ["trainer.fit(model)  # [train] everything"]
    assert Block([left[2]], right, False) in align(left, right)


def test_an_empty_line_does_not_tear_apart_what_differs() -> None:
    assert align(["a", "", "b"], ["c", "", "d"]) == [Block(["a", "", "b"], ["c", "", "d"], False)]


# What is marked


def test_the_words_that_differ_are_marked_and_no_others() -> None:
    left, right = "  optimizer.step(loss)", "    trainer.step(loss, 2)"
    assert differing(left, right) == (
        "  ^^^^^^^^^           ",
        "    ^^^^^^^          ^^^ ",
    )


def test_without_colour_the_marks_stand_below_and_signs_between() -> None:
    assert drawn("same\nimport torch\nmean(a, b)\nleft\n", "same\nmean(a, c)\n", 60) == [
        "same                            same",
        "import torch                 <",
        "mean(a, b)                   |  mean(a, c)",
        "        ^                               ^",
        "left                         <",
    ]
    assert drawn("", "right\n", 60) == [" " * 29 + ">  right"]


def test_in_colour_equal_code_is_plain_and_only_what_differs_is_painted() -> None:
    rows = drawn("same\nmean(a, b)\nleft\n", "same\nmean(a, c)\n", style=COLOURS)
    assert [re.findall(r"\x1b\[3[12]m(.*?)\x1b\[0m", row) for row in rows] == [
        [], ["b", "c"], ["left"],
    ]  # fmt: skip


# How lines are folded


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("    short", ["    short"]),
        ("    one, two, three = four()", ["    one, two,", "        three =", "        four()"]),
        ("    call(argument, another)", ["    call(argument,", "        another)"]),
        ("loss = mean(net(images), labels)", ["loss = mean(", "    net(images),", "    labels)"]),
        ("self.trainer.strategy.device", ["self.trainer", "    .strategy", "    .device"]),
        ("value = 1  # [seed] because", ["value = 1", "    # [seed]", "    because"]),
        ("    # words in prose (so)", ["    # words in", "        prose (so)"]),
        ("a" * 20, ["a" * 18, "    aa"]),
    ],
)
def test_a_line_is_folded_at_a_good_place_with_a_hanging_indent(line: str, rows: list[str]) -> None:
    assert [row for row, _ in fold(line, " " * len(line), 18)] == rows


@pytest.mark.parametrize("width", [60, 80, 81, 120])
@pytest.mark.parametrize("name", ["minimal.py", "module.py", "data.py", "train.py"])
def test_nothing_of_the_code_is_lost_and_no_row_is_too_wide(name: str, width: int) -> None:
    texts = [(ROOT / side / name).read_text() for side in diff.SIDES]
    half, gap = diff.halves(width)
    assert 2 * half + gap == width
    plain = drawn(*texts, width)
    assert max(map(len, plain)) <= width
    coloured = [ESCAPE.sub("", row).rstrip() for row in drawn(*texts, width, COLOURS)]
    assert coloured == [row for row in plain if not re.fullmatch(r"[ ^]*\^[ ^]*", row)]
    columns = "".join(row[:half] for row in coloured), "".join(r[half + gap :] for r in coloured)
    for text, column in zip(texts, columns, strict=True):
        assert "".join(column.split()) == "".join(text.split())


# Which files, and in which order


def test_files_come_in_the_order_in_which_one_reads_them(project: Callable[..., None]) -> None:
    names = ["train", "data", "aside", "module", "basic", "minimal", "__init__"]
    project(*(f"{side}/{name}.py" for side in diff.SIDES for name in names))
    order = ["minimal", "basic", "module", "data", "train", "aside"]
    assert diff.files() == ([f"{name}.py" for name in order], [], [])


def test_a_rung_that_is_not_there_is_passed_by(project: Callable[..., None]) -> None:
    project("raw_pytorch/train.py", "lightning/train.py")
    assert diff.files() == (["train.py"], [], [])


def test_what_only_one_side_has_comes_first_with_what_replaces_it(
    project: Callable[..., None],
) -> None:
    project("raw_pytorch/a.py", "raw_pytorch/train.py", "lightning/train.py", "lightning/b.py")
    rows = list(diff.draw_all(80, Style()))
    assert rows[:6] == [
        "Only in raw_pytorch",
        "  a.py  Lightning: Trainer(a=...)",
        "",
        "Only in lightning",
        "  b.py  Lightning: Trainer(b=...)",
        "",
    ]
    assert rows[8].split() == ["raw_pytorch/train.py", "lightning/train.py"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_fits_its_columns_and_names_what_replaces_each_file(width: int) -> None:
    shown = subprocess.run(
        ["make", "-s", "diff"],
        cwd=ROOT, env={**os.environ, "COLUMNS": str(width)}, capture_output=True, text=True,
        check=True,
    ).stdout.splitlines()  # fmt: skip
    # A half may end before its edge, the line of hyphens does not.
    assert max(map(len, shown)) == width
    assert shown[0] == "Only in raw_pytorch"
    only = shown[1 : shown.index("")]
    indent = re.match(r"  \S+ +", only[0])
    assert indent
    named = [row for row in only if not row.startswith("   ")]
    assert len(named) >= 8
    assert all(row[indent.end() :].startswith("Lightning: ") for row in named)
    # What does not fit goes on below it, and not at the left.
    assert all(row[: indent.end()].isspace() for row in only if row not in named)
    headings = [row.split() for row in shown if row.startswith("raw_pytorch/")]
    assert headings[0] == ["raw_pytorch/minimal.py", "lightning/minimal.py"]
    assert not any("__init__" in row for heading in headings for row in heading)


# The program


def test_it_needs_no_package_to_be_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-S", *PROGRAM, "minimal"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "trainer.fit" in done.stdout and "raw_pytorch/train.py" not in done.stdout


def test_one_file_can_be_asked_for_by_its_name_or_its_path(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = []
    for name in ("module", "module.py", "lightning/module.py"):
        assert diff.main([name]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    assert "raw_pytorch/module.py" in shown[0] and "raw_pytorch/train.py" not in shown[0]


def test_a_file_of_one_side_is_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff.main(["precision"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Only in raw_pytorch: precision.py\nLightning: Trainer(precision=")
    assert "class Precision" in shown


def test_a_name_that_is_none_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], one_line: Callable[..., None]
) -> None:
    assert diff.main(["modul"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    one_line(err, "FILE=modul", "expected one of minimal, ", "module, data, train")


def test_a_reader_who_leaves_early_sees_no_error() -> None:
    command = ["bash", "-c", f"{sys.executable} {' '.join(PROGRAM)} | head -n 1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "Only in raw_pytorch\n"
    assert done.stderr == ""


def on_a_terminal(**variables: str) -> str:
    """What somebody at a terminal of 80 columns sees."""
    ours, theirs = pty.openpty()
    # Taken for the environment as it is: an empty variable counts as none.
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "", **variables}
    process = subprocess.Popen(
        [sys.executable, *PROGRAM, "minimal"], cwd=ROOT, env=environment, stdout=theirs
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # Linux says the end of a terminal like this
        pass
    os.close(ours)
    assert process.wait() == 0
    return seen.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_unless_it_asks_for_none() -> None:
    coloured = on_a_terminal(PAGER="cat")
    assert ESCAPE.search(coloured) and "^^^" not in coloured
    for without in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_a_terminal(PAGER="cat", **without)
        assert not ESCAPE.search(plain) and "^^^" in plain


def test_a_terminal_shows_it_by_its_pager_which_may_leave_early() -> None:
    assert len(on_a_terminal(PAGER="head -n 2").splitlines()) == 2
    assert "trainer.fit" in on_a_terminal(PAGER="there-is-no-such-pager")
