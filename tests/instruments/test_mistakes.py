"""The catalogue of mistakes fits the code of both sides, and goes on fitting it when comments and
layout change."""

from __future__ import annotations

import ast
import io
import tokenize

import pytest

from shared.mistakes import edits
from shared.mistakes.catalogue import VERDICTS, Mistake, mistakes, twins
from shared.mistakes.edits import Edit, apply, changed

ALL = [*mistakes(), *twins()]
SOURCE = """\
def fit(config):
    # the loop
    for batch in loader:  # each
        optimizer.zero_grad()  # [train] or they add up
        clip(
            module.parameters(),  # all of them
            config.most,
        )
        optimizer.step()
"""


def reworded(source: str) -> str:
    """The same code, with other comments at the end of every line that may have one."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif token.type in (tokenize.NEWLINE, tokenize.NL) and not lines[row - 1].endswith("\\"):
            lines[row - 1] = lines[row - 1].rstrip() + "  # in other words, (unbalanced"
    return "\n".join(lines) + "\n"


def test_the_code_is_found_whatever_its_comments_and_its_layout_are():
    edit = Edit("train.py", "clip(module.parameters(), config.most)", "pass")
    assert "        pass\n        optimizer.step()" in apply(SOURCE, [edit])
    moved = apply(SOURCE, [Edit("train.py", "optimizer.step()", "clip()\noptimizer.step()")])
    assert moved.endswith("        clip()\n        optimizer.step()\n")


def test_edits_look_for_their_code_in_the_source_as_it_was():
    swapped = apply(
        SOURCE,
        [
            Edit("train.py", "optimizer.zero_grad()", "optimizer.step()"),
            Edit("train.py", "optimizer.step()", "optimizer.zero_grad()"),
        ],
    )
    assert swapped.count("optimizer.step()") == swapped.count("optimizer.zero_grad()") == 1
    assert swapped.index("optimizer.step()") < swapped.index("optimizer.zero_grad()")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("train.py", "optimizer.zero_grads()", "pass"), "0 times"),
        (Edit("train.py", "optimizer", "pass"), "2 times"),
        (Edit("train.py", "# the loop", "pass"), "no code"),
        (Edit("train.py", "clip(module.parameters()", "pass"), "no whole piece of code"),
    ],
)
def test_code_that_is_not_there_as_often_as_it_should_be_is_an_error(edit, message):
    with pytest.raises(ValueError, match=message):
        apply(SOURCE, [edit])


def test_two_edits_of_the_same_code_are_an_error():
    with pytest.raises(ValueError, match="the same code"):
        apply(SOURCE, [Edit("", "optimizer.step()", "pass"), Edit("", ".step()", ".close()")])


def test_what_is_no_python_any_more_is_an_error():
    with pytest.raises(ValueError, match=r"raw_pytorch/train\.py"):
        changed("raw_pytorch", [Edit("train.py", "optimizer.zero_grad()", "if:")])


@pytest.mark.parametrize("mistake", ALL, ids=lambda m: f"{m.side}: {m.name}")
def test_every_mistake_fits_the_code_and_code_with_other_comments(
    mistake: Mistake, tmp_path, monkeypatch
):
    wrong = changed(mistake.side, mistake.right, mistake.wrong)
    assert wrong != changed(mistake.side, mistake.right)
    assert wrong.keys() == {edit.file for edit in (*mistake.right, *mistake.wrong)}
    for name in wrong:
        path = tmp_path / mistake.side / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(reworded((edits.ROOT / mistake.side / name).read_text()))
    monkeypatch.setattr(edits, "ROOT", tmp_path)
    for name, source in changed(mistake.side, mistake.right, mistake.wrong).items():
        assert ast.dump(ast.parse(source)) == ast.dump(ast.parse(wrong[name]))


def test_every_mistake_says_what_lightning_makes_of_it():
    assert {mistake.verdict for mistake in mistakes()} == set(VERDICTS)
    assert len({mistake.name for mistake in mistakes()}) == len(mistakes()) >= 30
    for mistake in mistakes():
        for text in (mistake.shown, mistake.lightning):
            assert set(text) == {"en", "zh"} and all(text.values()), mistake.name
