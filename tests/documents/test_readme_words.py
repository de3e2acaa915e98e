"""The READMEs can be followed by somebody new: the first one is short, every command runs, what
they name is there, and a Chinese reader gets the same."""

from __future__ import annotations

import html
import re
import shlex

import pytest
from support.readmes import ALL, BLOCKS, CHINESE, ENGLISH, HOME, README
from support.record import SIDES

from shared.cli import parse_command
from shared.config import Config
from shared.processes import ROOT
from shared.puzzles.screen import width


def bare(text: str) -> str:
    """What a reader sees of a README."""
    return re.sub("<!--.*?-->\n?", "", text, flags=re.S)


def prose(text: str) -> str:
    """The same without headings, code and tables."""
    text = re.sub(r"```.*?```|<table>.*?</table>", "", bare(text), flags=re.S)
    return re.sub(r"`[^`\n]*`|^(?:#|\|).*$", "", text, flags=re.M)


@pytest.mark.parametrize("text", [README, CHINESE[HOME]], ids=["english", "chinese"])
def test_the_first_one_is_read_in_ten_minutes(text):
    lines = [line for line in bare(text).splitlines() if line.strip()]
    assert len(lines) <= 130
    assert words(bare(text)) <= 1400
    tables = [line for line in lines if line.startswith("|")]
    tables += re.findall("<table>.*?</table>", text, re.S)
    assert 50 < words("\n".join(tables)) <= words(bare(text)) / 5


def words(text: str) -> float:
    """How many words there are. A word in Chinese has one or two characters."""
    others = re.sub(r"[^\x00-\x7f]|\|", " ", text).split()
    return len(others) + len(re.findall("[\u4e00-\u9fff]", text)) / 1.5


@pytest.mark.parametrize("text", [README, CHINESE[HOME]], ids=["english", "chinese"])
def test_no_table_is_wider_than_the_page(text):
    """GitHub's page has 846 px. A character takes at most 8 px in text and 8.2 in code; a cell
    takes 27 px more, and a block of code in it 32 more."""
    tables = re.findall(r"(?:^\|.*\n)+", bare(text), re.M)
    assert tables
    for table in tables:
        rows = [
            re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if "---" not in line
        ]
        columns = [
            max(width(cell.strip()) for cell in column) for column in zip(*rows, strict=True)
        ]
        assert sum(8 * column + 27 for column in columns) <= 846
    codes = re.findall("<pre.*?>\n(.*?)</pre>", text, re.S)
    assert len(codes) == 2
    longest = [max(map(len, html.unescape(code).splitlines())) for code in codes]
    assert sum(8.2 * columns + 27 + 32 for columns in longest) <= 846


TERMS = {
    "english": "side Trainer LightningModule callback hook concern limit".split(),
    "chinese": "寫法 Trainer LightningModule callback hook 主題 速度上限".split(),
}


@pytest.mark.parametrize("language", TERMS)
def test_a_term_is_defined_where_it_is_first_used(language):
    text = prose({"english": README, "chinese": CHINESE[HOME]}[language])
    for term in TERMS[language]:
        end = r"s?\b" if language == "english" else ""
        start = r"\b" if language == "english" else ""
        first = re.search(rf"(?i)(\*\*)?{start}{term}{end}", text)
        assert first and first[1], f"{term} is used before it is defined: {first}"


BANNED = (
    "is honest", "with every feature it is", "never on the side",
    "its own files included", "Nothing lost, nobody fooled", "434, 434", "383 shared",
    "gives ours every core", "is a bare loop and a Trainer over them", "a price of steps",
    "addresses of the dead", "right ones of",
)  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=str)
def test_no_sentence_has_to_be_read_twice(path):
    assert [words for words in BANNED if words in ALL[path]] == []
    opened = re.findall(r"(?:^|[.:] )(?:Of|Which|Not) [a-z].*", prose(ALL[path]), re.M)
    assert opened == [], "a sentence that opens so has to be read twice"


def commands(text: str) -> list[str]:
    """The commands in the code of a README."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(
        r"`((?:make|python|torchrun|\.(?= \.venv)) [^`\n]+)`",
        re.sub("```.*?```", "", text, flags=re.S),
    )
    return [line for line in lines if line] + inline


def check_command(command: str) -> None:
    """Fails unless the program or the target of a command is there and takes its arguments."""
    words = shlex.split(command.replace("…", ""))
    while "=" in words[0]:  # the environment
        del words[0]
    if words[0] == "make":
        check_make(*words[1:])
    elif words[0] == "python" and words[1] == "-m":
        check_module(*words[2:])
    elif words[0] == "python":
        assert words[1] == "PATH/TO/shared/divergence"
        assert (ROOT / "shared/divergence/__main__.py").is_file()
        for program in words[2:]:
            own_script = r"(?:python )?\w+\.py(?: .*)?"
            if not re.fullmatch(own_script, program):
                check_command(program)
    elif words[0] == "torchrun":
        check_module(*words[words.index("-m") + 1 :])
    else:
        assert words == [".", ".venv/bin/activate"], command


def check_make(target: str, *settings: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe, f"no target {target}"
    values = dict(setting.split("=", 1) for setting in settings)
    for name in values:
        known = rf"^{name} \?=|^export .*\b{name}\b|\$\({name}\)"
        assert re.search(known, makefile, re.M), f"no variable {name}"
    flags = shlex.split(values.get("ARGS", ""))
    for name, flag in (("DATASET", "--dataset"), ("DEVICES", "--devices")):
        if not values.get(name, "X").isupper():
            flags += [flag, values[name]]
    module = re.search(r"-m (\S+)(?: (train))?", recipe[1])
    if module and flags:
        check_module(*filter(None, module.groups()), *flags)


def check_module(module: str, *arguments: str) -> None:
    root = ROOT / "tests" if module.startswith("support.") else ROOT
    path = root / module.replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert file.is_file(), f"no program {module}"
    if module not in SIDES:
        source = file.read_text()
        assert [a for a in arguments if a[:2] == "--" and f'"{a}"' not in source] == []
    elif "--help" in arguments:
        with pytest.raises(SystemExit) as end:
            parse_command(module, arguments)
        assert end.value.code == 0
    else:
        _, config, _ = parse_command(module, arguments)
        assert isinstance(config, Config)


@pytest.mark.parametrize("path", ALL, ids=str)
def test_every_command_is_one_that_there_is_and_takes_its_flags(path, capsys):
    found = commands(ALL[path])
    for command in found:
        try:
            check_command(command)
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")
    if path.parent == HOME:
        assert len(found) >= 15


@pytest.mark.parametrize(
    "command",
    ["make nothing", "make raw NOTHING=1", "make raw DATASET=nothing", "make raw ARGS=--nothing",
     "make mistakes ARGS=--nothing", "python -m lightning nothing", "python -m shared.nothing"],
)  # fmt: skip
def test_a_command_that_does_not_run_is_noticed(command):
    with pytest.raises((AssertionError, SystemExit)):
        check_command(command)


@pytest.mark.parametrize("path", ALL, ids=str)
def test_its_links_and_pictures_are_there(path):
    targets = re.findall(r"\]\(([^)]+)\)|src(?:set)?=\"([^\"]+)\"", ALL[path])
    for target in (one or other for one, other in targets):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = ROOT / path.parent / name
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, target


def test_the_picture_has_a_dark_variant_where_there_is_one():
    name = "shared/docs/page-dark.png"
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{name}">'
    for text in (README, CHINESE[HOME]):
        picture = re.search("<picture>.*?</picture>", text)
        assert picture and 'src="shared/docs/page.png"' in picture[0]
        assert (source in picture[0]) == (ROOT / name).is_file(), f"<picture> needs {source}"


def test_the_table_of_shared_has_all_that_lies_there():
    text = (ROOT / "shared" / "README.md").read_text()
    named = re.findall(r"^\| `([\w./]+)` \|", text, re.M)
    there = [p.name for p in (ROOT / "shared").glob("*.py") if p.name != "__init__.py"]
    there += [f"{p.parent.name}/" for p in (ROOT / "shared").glob("*/__init__.py")]
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("side", SIDES)
def test_the_readme_of_a_side_names_all_of_its_files(side):
    text = (ROOT / side / "README.md").read_text()
    names = {path.name for path in (ROOT / side).glob("*.py")} - {"__init__.py"}
    assert len(names) > 8
    assert [name for name in sorted(names) if name not in text] == []


@pytest.mark.parametrize("folder", ["raw_pytorch", "lightning", "shared"])
def test_the_readme_of_a_folder_is_one_screen(folder):
    assert len((ROOT / folder / "README.md").read_text().splitlines()) <= 60


def test_make_help_shows_a_learner_first_what_to_type_first():
    makefile = (ROOT / "Makefile").read_text()
    shown = re.findall(r"^([a-z-]+):.*?## (.*)$", makefile, re.M)
    assert [name for name, _ in shown if name in LEARNERS] == list(LEARNERS)
    assert {name for name, _ in shown[: len(LEARNERS)]} == set(LEARNERS)
    assert [text for name, text in shown if len(f"  make {name:12} {text}") > 80] == []


LEARNERS = ("raw", "lightning", "basic", "compare", "puzzle", "test")


@pytest.mark.parametrize("folder", ENGLISH, ids=str)
def test_the_chinese_one_has_the_same_code_the_same_numbers_and_the_same_parts(folder):
    def without_tables(text: str) -> str:
        for name in BLOCKS:
            text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", "", text, flags=re.S)
        return text

    english, chinese = map(without_tables, (ENGLISH[folder], CHINESE[folder]))
    for what in (
        r"```.*?```",  # commands
        r"`[^`\n]+`",  # names of code
        r"(?<![\w.])\d[\d,./]*\d(?![\w.])|(?<![\w.])\d(?![\w.])",  # numbers
        r"^#+ ",
        r"^(?:- |\|)",
    ):
        found = [sorted(re.findall(what, text, re.S | re.M)) for text in (english, chinese)]
        if what.startswith("`["):
            english, chinese = (re.sub(what, "", text) for text in (english, chinese))
        if what.startswith("```"):
            english, chinese = (re.sub(what, "", t, flags=re.S) for t in (english, chinese))
        assert found[0] == found[1], what
        assert found[0] or folder != HOME, what
