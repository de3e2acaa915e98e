"""Every knob of a run: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.cli import BOOLEANS, NAMES, parse_args
from shared.config import RECIPES, RULES, Config, to_yaml
from shared.errors import Interrupted, RunError, UsageError, run

NO_WHOLE_NUMBER = ["", " ", "one", "1.5", "nan", "inf", "-inf", "1e400", "[1]", "true", "1 2", "½"]
NO_NUMBER = ["", " ", "one", "nan", "inf", "-inf", "1e400", "[0.1]", "true", "0,1", "½"]
NO_PATH = ["", " ", "\t\n", "a\0b"]

# As typed after the flag.
WRONG = {
    "dataset": ["", "Digits", "cifar", "digits,mnist", "0", "null", "手書き"],
    "data_dir": [*NO_PATH, "null", "~"],
    "run_dir": NO_PATH,
    "seed": [*NO_WHOLE_NUMBER, "-1", str(2**32), "9" * 400],
    "max_epochs": [*NO_WHOLE_NUMBER, "-1", "0", "1000001", "9" * 400],
    "batch_size": [*NO_WHOLE_NUMBER, "-1", "0", "1000001", "9" * 400],
    "lr": [*NO_NUMBER, "-0.1", "0", "-0.0", "101"],
    "weight_decay": [*NO_NUMBER, "-0.1", "101"],
    "dropout": [*NO_NUMBER, "-0.1", "1", "2"],
    "width": [*NO_WHOLE_NUMBER, "-1", "0", "4097", "9" * 400],
    "accelerator": ["", "gpu", "CPU", "cuda:0", "0"],
    "devices": [*NO_WHOLE_NUMBER, "-1", "0", "1025", "auto", "9" * 400],
    "num_nodes": [*NO_WHOLE_NUMBER, "-1", "0", "1025", "9" * 400],
    "threads": [*NO_WHOLE_NUMBER, "-1", "0", "1025", "9" * 400],
    "precision": ["", "32", "bf16", "16-MIXED", "64-true"],
    "compile": ["", "maybe", "2", "nan"],
    "accumulate_grad_batches": [*NO_WHOLE_NUMBER, "-1", "0", "1000001", "9" * 400],
    "gradient_clip_val": [*NO_NUMBER, "-0.1", "0", "-0.0"],
    "early_stopping_patience": [*NO_WHOLE_NUMBER, "-1", "0", "9" * 400],
    "checkpoint_every_n_steps": [*NO_WHOLE_NUMBER, "-1", "0", "9" * 400],
    "fast_dev_run": ["", "maybe", "2", "nan"],
    "num_workers": [*NO_WHOLE_NUMBER, "-1", "1025", "9" * 400],
    "log_every_n_steps": [*NO_WHOLE_NUMBER, "-1", "0", "9" * 400],
    "progress_bar": ["", "maybe", "2", "nan"],
    "ckpt_path": NO_PATH,
}
# As a Python program gives them.
WRONG_OBJECTS = {
    "int": [True, 1.0, "1", None, [1], math.nan],
    "int | None": [True, 1.0, "1", [1], math.nan],
    "float": [True, "0.1", None, [0.1], math.nan, math.inf, -math.inf],
    "float | None": [True, "0.1", [0.1], math.nan, math.inf, -math.inf],
    "bool": [0, 1, "true", None],
    "str": [True, 1, None, "", " ", "a\0b", "null"],
    "str | None": [True, 1, "", " ", "a\0b", "null"],
}


def parse(argv: Sequence[str], **options: Any) -> tuple[Config | None, int, str]:
    """The configuration, or None; the exit status; and what was written to stderr."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return parse_args("raw_pytorch.train", argv, **options)[0], 0, err.getvalue()
    except SystemExit as leaving:
        return None, leaving.code, err.getvalue()


def refused(argv: Sequence[str], **options: Any) -> str:
    config, status, err = parse(argv, **options)
    assert (config, status) == (None, 2)
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert "usage:" not in err
    return err.strip()


def test_every_flag_has_a_rule_and_wrong_values_in_these_tables() -> None:
    assert set(RULES) == set(NAMES)
    assert set(WRONG) == set(NAMES)


@pytest.mark.fault("any text for any flag", kind="input")
@pytest.mark.parametrize(("flag", "value"), [(f, v) for f, values in WRONG.items() for v in values])
def test_a_wrong_value_is_answered_in_one_line_with_the_flag_and_what_is_right(
    flag: str, value: str
) -> None:
    expected = RULES[flag].words
    assert refused([f"--{flag}={value}"]).startswith(f"error: --{flag}: ")
    assert refused([f"--{flag}={value}"]).endswith(f"; expected {expected}")


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_a_wrong_object_is_refused_by_the_class_itself(field: dataclasses.Field) -> None:
    literal = field.name in ("dataset", "accelerator", "precision")
    values = ["", "no", 0, True, None, ["cpu"]] if literal else WRONG_OBJECTS[field.type]
    filled_in = getattr(Config(), field.name) is not None and field.default is None
    for value in values:
        if value is None and filled_in:
            continue
        with pytest.raises(UsageError, match=f"^--{field.name}: got .*; expected "):
            Config(**{field.name: value})


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(refused(["--seed", "9" * 4000])) < 200
    assert len(refused(["--dataset", "x" * 4000])) < 200


@pytest.mark.fault("any text for any flag", kind="input")
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--datset", "mnist"], "unknown argument --datset; did you mean --dataset?"),
        (["--max-epochs=3"], "unknown argument --max-epochs=3; did you mean --max_epochs?"),
        (["--zzz", "1"], "unknown argument --zzz; see --help"),
        (["--data_di", "x"], "unknown argument --data_di; did you mean --data_dir?"),
        (["digits"], "unknown argument digits; see --help"),
        (["--images", "a.png"], "unknown argument --images; see --help"),
        (["--seed", "1", "2"], "unknown argument 2; see --help"),
        (["--seed.x", "1"], "unknown argument ending in .x; see --help"),
        ([""], "unknown argument ''; see --help"),
        (["--seed"], f"--seed: no value given; expected {RULES['seed'].words}"),
        (["--config"], "--config: no value given; expected a YAML file"),
        (["--config", "--seed", "1"], "--config: no value given; expected a YAML file"),
    ],
)
def test_an_unknown_or_unfinished_argument_is_answered_with_the_nearest_known(
    argv: list[str], message: str
) -> None:
    assert refused(argv) == f"error: {message}"


def test_images_without_a_file_are_answered_in_one_line() -> None:
    assert refused(["--images"], images=True).startswith("error: --images: no value given")
    assert "did you mean --images?" in refused(["--image", "a.png"], images=True)


@pytest.mark.fault("a wrong or hostile YAML file", kind="input")
@pytest.mark.parametrize(
    ("content", "message"),
    [
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
    ],
)
def test_a_wrong_yaml_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my run.yaml"
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


def bomb(levels: int) -> str:
    """YAML for 10 to the power of `levels` words, in a few lines."""
    lines = ["&a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "[" + ",\n".join(lines) + "]"


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
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_yaml_file_is_answered_in_one_short_line(name: str, fault: Any) -> None:
    content, problem = HOSTILE[name]
    Path("run.yaml").write_text(content)
    line = refused(["--config", "run.yaml"])
    assert line.startswith(f"error: --config: run.yaml: {problem}")
    assert len(line) < 400
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


@pytest.mark.fault("any text for any flag", kind="input")
@pytest.mark.parametrize("flag", ["seed", "lr", "data_dir", "run_dir", "progress_bar", "config"])
@pytest.mark.parametrize(
    "text",
    [bomb(30), "[" * 9_000, "{a: " * 2_000, "[" * 90_000, "59:" * 30_000, "9" * 9_000],
    ids=["bomb", "brackets", "braces", "many brackets", "base 60", "digits"],
)
def test_a_value_that_would_fill_the_memory_is_refused(flag: str, text: str) -> None:
    if text.startswith("9") and flag.endswith("_dir"):
        return  # too long a path for a file system, and a path
    assert len(refused([f"--{flag}={text}"])) < 400
    assert len(refused([f"--{flag}", text])) < 400


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


@pytest.mark.parametrize("flag", BOOLEANS)
def test_a_switch_may_stand_alone(flag: str) -> None:
    for argv, value in (
        ([f"--{flag}"], True),
        ([f"--{flag}", "--seed", "1"], True),
        ([f"--{flag}", "true"], True),
        ([f"--{flag}", "false"], False),
        ([f"--{flag}=false"], False),
        ([f"--{flag}", "no"], False),
    ):
        assert getattr(parse(argv)[0], flag) is value, argv


def test_images_are_given_back_as_they_were_typed() -> None:
    argv = ["--images", "a b.png", "ё.jpg", "1", "null", "--seed", "3"]
    config, files = parse_args("raw_pytorch.predict", argv, images=True)
    assert files == ["a b.png", "ё.jpg", "1", "null"]
    assert config.seed == 3
    assert parse_args("raw_pytorch.predict", [], images=True)[1] == []


@pytest.mark.parametrize("dataset", RECIPES)
def test_a_flag_left_out_takes_the_recipe_of_the_dataset(dataset: str) -> None:
    config = parse(["--dataset", dataset])[0]
    assert RECIPES[dataset] == {name: getattr(config, name) for name in RECIPES[dataset]}
    assert None not in RECIPES[dataset].values()
    for name in RECIPES[dataset]:
        assert getattr(parse(["--dataset", dataset, f"--{name}", "0.5"])[0], name, None) == 0.5 or (
            getattr(parse(["--dataset", dataset, f"--{name}", "5"])[0], name) == 5
        )


def test_a_flag_at_the_value_of_another_recipe_is_kept() -> None:
    config = Config(dataset="mnist", max_epochs=RECIPES["digits"]["max_epochs"])
    assert config.max_epochs == RECIPES["digits"]["max_epochs"]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


paths = st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)
VALUES = {
    "int": st.integers(0, 2**32 - 1),
    "float": st.floats(0, 100, exclude_min=True),
    "bool": st.booleans(),
    "str": paths,
    "Dataset": st.sampled_from(list(RECIPES)),
}


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any valid configuration, by asking each rule which of the drawn values it takes."""
    values = {}
    for field in dataclasses.fields(Config):
        rule = RULES[field.name]
        if rule.words.startswith("one of "):
            values[field.name] = draw(st.sampled_from(rule.words[len("one of ") :].split(", ")))
            continue
        strategy = VALUES[field.type.split(" ")[0]]
        if field.type.startswith("int"):
            strategy |= st.integers(0, 1000)
        if field.type.startswith("float"):
            strategy |= st.floats(0, 0.99)
        strategy = strategy.filter(rule.allows)
        if field.type.endswith("None"):
            strategy |= st.none()
        values[field.name] = draw(strategy)
    return Config(**values)


@settings(deadline=None, max_examples=40)
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


def test_the_yaml_holds_every_knob() -> None:
    assert list(yaml.safe_load(to_yaml(Config()))) == NAMES


words = (
    st.text(max_size=20)
    | st.sampled_from(["-", "--", "-1", "--help=1", "null", "=", "{}", "[", "&a", "*a", "!!int x"])
    | st.floats().map(str)
    | st.integers().map(str)
)


@pytest.mark.fault("any text for any flag", kind="input")
@settings(deadline=None, max_examples=80)
@given(flag=st.sampled_from([*NAMES, "config", "images"]), value=words, joined=st.booleans())
def test_any_text_for_any_flag_gives_a_configuration_or_one_line(
    flag: str, value: str, joined: bool
) -> None:
    # A help text and a printed configuration are answers too, and not the ones asked for here.
    assume(value not in ("--help", "-h") and not value.startswith("--print"))
    argv = [f"--{flag}={value}"] if joined else [f"--{flag}", value]
    config, status, err = parse(argv, images=True)
    if config is None:
        assert status == 2
        assert err.startswith("error: ")
        assert len(err[:-1].splitlines()) == 1, err
    else:
        assert err == ""
        assert Config(**dataclasses.asdict(config)) == config


@pytest.mark.fault("any text for any flag", kind="input")
@settings(deadline=None, max_examples=40)
@given(st.lists(words | st.sampled_from([f"--{name}" for name in NAMES]), max_size=6))
def test_any_command_line_gives_a_configuration_or_one_line(argv: list[str]) -> None:
    assume(not any(arg.startswith(("--help", "-h", "--print")) for arg in argv))
    config, status, err = parse(argv)
    assert config is not None or (status == 2 and len(err[:-1].splitlines()) == 1), err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("--seed: no"), 2, "--seed: no"),
        (RunError("a.gz: damaged"), 1, "a.gz: damaged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("interrupted after epoch 3"), 130, "interrupted after epoch 3"),
        (
            PermissionError(13, "Permission denied", "x"),
            1,
            "x: Permission denied; choose a folder you may write to with --run_dir",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "No space left on device; free some space or give another --run_dir",
        ),
        (OSError("odd"), 1, "odd"),
        (ValueError("first\nsecond"), 1, "ValueError: first (DEBUG=1 shows where)"),
        (ValueError(), 1, "ValueError: no message (DEBUG=1 shows where)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_ends_a_run_becomes_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as leaving:
        run(command)
    assert leaving.value.code == status
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_traceback_is_there_for_who_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", "1")
    with pytest.raises(SystemExit):
        run(lambda: 1 / 0)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: ZeroDivisionError: division by zero (DEBUG=1 shows where)\n")
