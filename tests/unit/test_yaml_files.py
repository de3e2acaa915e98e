"""The YAML files that `--config` reads: what is wrong with one is said in a line that names it."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.command_line import bomb, parse, refused

from shared.cli import NAMES
from shared.config import RECIPES, RULES, Config, to_yaml

WRONG_YAML = [
    (b"seed: [1", "not YAML in line 1"),
    (b"seed: 1\nlr: {", "not YAML in line"),
    (b"seed: 1\n---\nseed: 2", "not YAML in line 2"),
    (b"a: \0", "not YAML"),
    (b"\0\xff\xfe", "not a text file"),
    (b"", "holds nothing; expected lines like seed: 1"),
    (b"# only a comment", "holds nothing; expected lines like seed: 1"),
    (b"- 1\n- 2", "holds [1, 2]; expected lines like seed: 1"),
    (b"seed", "holds 'seed'; expected lines like seed: 1"),
    (b"max_epochs:", "holds {'max_epochs': None}; expected lines like seed: 1"),
    (b"sed: 1", "unknown key sed; did you mean seed?"),
    (b"--seed: 1", "unknown key --seed; did you mean --seed?"),
    (b"train:\n  seed: 1", "unknown key train; see --help"),
    (b"config: other.yaml", "unknown key config; see --help"),
    (b"1: 2", "unknown key 1; see --help"),
    (b"seed: one", f"seed: got 'one'; expected {RULES['seed'].words}"),
    (b"seed: -1", f"seed: got -1; expected {RULES['seed'].words}"),
    (b"seed: [1, 2]", f"seed: got [1, 2]; expected {RULES['seed'].words}"),
    (b"lr: .nan", f"lr: got nan; expected {RULES['lr'].words}"),
    (b"data_dir: {a: 1}", "data_dir: got {'a': 1}; expected the path of a folder"),
    (b"dataset: MNIST", f"dataset: got 'MNIST'; expected {RULES['dataset'].words}"),
]


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
def test_a_wrong_yaml_file_is_named(fault: Any, tmp_path: Path) -> None:
    fault.tried(len(WRONG_YAML))
    file = tmp_path / "my run.yaml"
    for content, message in WRONG_YAML:
        file.write_bytes(content)
        for argv in (
            ["--config", str(file)],
            [f"--config={file}"],
            ["--config", str(file), "--seed=1"],
        ):
            assert refused(argv).startswith(f"error: --config: {file}: {message}")


@pytest.mark.parametrize("file", ["none.yaml", ".", "none/none.yaml", "a\0b", "x" * 5000, "ё.yaml"])
def test_a_yaml_file_that_is_not_there_is_named(file: str) -> None:
    assert refused(["--config", file]).startswith("error: --config: ")
    ends = (": no such file", ": not a file", ": File name too long")
    assert refused(["--config", file]).endswith(ends)


HOSTILE = {
    "a bomb of aliases": (f"seed: {bomb(30)}", "nested lists or an alias in line "),
    "a bomb as a key": (f"? {bomb(30)}\n: 1", "nested lists or an alias in line "),
    "a list in itself": ("seed: &a [*a]", "nested lists or an alias in line 1"),
    "ninety thousand brackets": ("seed: " + "[" * 90_000, "nested lists or an alias in line 1"),
    "ninety thousand levels": ("{a: " * 22_000, "nested lists or an alias in line 1"),
    "an unknown key of ninety thousand letters": ("a" * 90_000 + ": 1", "not YAML"),
    "a megabyte": ("# comment\n" * 100_000, "larger than 100 kB"),
    "a key twice": ("seed: 1\nlr: 0.1\nseed: 2", "seed is given 2 times; expected once"),
    "an object": ("seed: !!python/object/apply:os.getcwd []", "not YAML in line 1"),
    "a name of Python": ("seed: !!python/name:os.system ''", "not YAML in line 1"),
    "a tag of its own": ("seed: !secret 1", "not YAML in line 1"),
    "bytes": ("data_dir: !!binary aGVsbG8=", "data_dir: "),
    "a set": ("seed: !!set {1, 2}", "seed: got {1, 2}"),
    "a day that is none": ("seed: 2020-02-30", "not YAML (day is out of range"),
    "five thousand digits": ("seed: " + "9" * 5000, "not YAML (Exceeds the limit"),
    "sixty to a high power": ("seed: " + "59:" * 1000 + "59", "seed: got "),
}


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
def test_a_hostile_yaml_file_is_answered_in_one_short_line(fault: Any) -> None:
    fault.tried(len(HOSTILE))
    for name, (content, problem) in HOSTILE.items():
        Path("run.yaml").write_text(content)
        line = refused(["--config", "run.yaml"])
        assert line.startswith(f"error: --config: run.yaml: {problem}"), name
        assert len(line) < 400, name
        fault.sees(line)


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32"])
def test_a_yaml_file_in_another_encoding_is_not_read(encoding: str) -> None:
    Path("run.yaml").write_bytes("data_dir: über".encode(encoding))
    assert refused(["--config", "run.yaml"]) == "error: --config: run.yaml: not a text file"


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
@pytest.mark.parametrize("kind", ["pipe", "zero", "random", "dash"])
def test_what_never_ends_is_not_read_as_yaml(kind: str, fault: Any) -> None:
    os.mkfifo("pipe")
    file = {"pipe": "pipe", "zero": "/dev/zero", "random": "/dev/random", "dash": "-"}[kind]
    line = refused(["--config", file])
    assert line.startswith(f"error: --config: {file}: ")
    assert line.endswith(": no such file" if kind == "dash" else ": not a file")
    fault.sees(line)


lines = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, "seed ", "Seed", "<<", "? a", ""]),
        st.text(max_size=15)
        | st.sampled_from(["&a 1", "*a", "!!int 1", "|", ">-", "[1", "{", "'", "2020-01-01", "~"])
        | st.floats().map(str)
        | st.integers().map(str),
    ),
    max_size=5,
).map(lambda pairs: "\n".join(f"{key}: {value}" for key, value in pairs))


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
@settings(deadline=None, max_examples=60)
@given(lines.map(str.encode) | st.binary(max_size=60))
def test_any_yaml_file_gives_a_configuration_or_one_line(content: bytes) -> None:
    Path("run.yaml").write_bytes(content)
    config, status, err = parse(["--config", "run.yaml"])
    if config is None:
        assert status == 2
        assert err.startswith("error: --config: run.yaml: ")
        assert len(err[:-1].splitlines()) == 1, err
    else:
        assert err == ""
        assert Config(**dataclasses.asdict(config)) == config


def test_of_two_yaml_files_the_wrong_one_is_named(tmp_path: Path) -> None:
    Path("right.yaml").write_text("seed: 1")
    Path("wrong.yaml").write_text("seed: one")
    for argv in (["right.yaml", "wrong.yaml"], ["wrong.yaml", "right.yaml"]):
        flags = [text for file in argv for text in ("--config", file)]
        assert refused(flags).startswith("error: --config: wrong.yaml: seed: ")


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
def test_a_yaml_file_runs_no_code(tmp_path: Path) -> None:
    Path("code.yaml").write_text(f"seed: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    assert "code.yaml: not YAML" in refused(["--config", "code.yaml"])
    assert not (tmp_path / "made").exists()


def test_what_is_given_later_wins() -> None:
    Path("run.yaml").write_text("seed: 5\nlr: 1e-3\nmax_epochs: 7")
    Path("more.yaml").write_text("seed: 6")
    assert parse(["--config", "run.yaml"])[0] == Config(seed=5, lr=1e-3, max_epochs=7)
    assert parse(["--config", "run.yaml", "--seed", "9"])[0].seed == 9
    assert parse(["--seed", "9", "--config", "run.yaml"])[0].seed == 5
    assert parse(["--config", "run.yaml", "--config", "more.yaml"])[0].seed == 6
    assert parse(["--config", "run.yaml", "--config", "more.yaml"])[0].max_epochs == 7
    assert parse(["--seed", "1", "--seed", "2"])[0].seed == 2


paths = st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)
VALUES = {
    "int": st.integers(0, 2**32 - 1),
    "float": st.floats(0, 100, exclude_min=True),
    "bool": st.booleans(),
    "str": paths,
    "Dataset": st.sampled_from(list(RECIPES)),
}
MODELS = st.sampled_from(["ConvNet", "mine.py:MyNet", "a b/-.py:_", "~/\u2028: x.py:網路"])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any valid configuration, by asking each rule which of the drawn values it takes."""
    values = {}
    for field in dataclasses.fields(Config):
        rule = RULES[field.name]
        if rule.words.startswith("one of "):
            values[field.name] = draw(st.sampled_from(rule.words[len("one of ") :].split(", ")))
            continue
        strategy = MODELS if field.name == "model" else VALUES[field.type.split(" ")[0]]
        if whole := re.match(r"a whole number from (\d+) to (\d+)", rule.words):
            strategy = st.integers(*map(int, whole.groups()))
        if field.type.startswith("float"):
            strategy |= st.floats(0, 0.99)
        strategy = strategy.filter(rule.allows)
        if field.type.endswith("None"):
            strategy |= st.none()
        values[field.name] = draw(strategy)
    return Config(**values)


@settings(deadline=None, max_examples=20)
@given(configs())
@example(Config(data_dir="~/x", run_dir="~x", ckpt_path="nULL"))
@example(Config(data_dir="None", run_dir="None", ckpt_path="{}"))
@example(Config(data_dir="1", run_dir="true", ckpt_path="[a]"))
@example(Config(data_dir="-", run_dir="a: b", ckpt_path="# no\ncomment\r\n\u2028\x85"))
@example(Config(lr=1e-5, weight_decay=1e-320))
def test_a_configuration_comes_back_from_its_yaml_file(config: Config) -> None:
    Path("config.yaml").write_text(to_yaml(config), encoding="utf-8")
    read, _, err = parse(["--config", "config.yaml"])
    assert err == ""
    assert read == config
