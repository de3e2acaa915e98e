"""The command line: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.command_line import bomb, parse, refused

from shared.cli import BOOLEANS, BRIEF, COMMANDS, NAMES, parse_args, parse_command
from shared.config import FIELDS, RECIPES, RULES, Config

NO_WHOLE_NUMBER = ["", " ", "one", "1.5", "nan", "inf", "-inf", "1e400", "[1]", "true", "1 2", "½"]
NO_NUMBER = ["", " ", "one", "nan", "inf", "-inf", "1e400", "[0.1]", "true", "0,1", "½"]
NO_PATH = ["", " ", "\t\n", "a\0b"]

# As typed after the flag.
WRONG = {
    "dataset": ["", "Digits", "cifar", "digits,mnist", "0", "null", "手書き"],
    "data_dir": [*NO_PATH, "null", "~"],
    "image_size": [*NO_WHOLE_NUMBER, "-1", "0", "15", "513", "9" * 400],
    "model": ["", "Convnet", "mine.py", "mine:MyNet", "mine.py:", "mine.py:My Net", ":MyNet"],
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


def test_threads_that_wait_sleep_soon_unless_the_environment_says_otherwise(monkeypatch) -> None:
    for name in ("OMP_WAIT_POLICY", *BRIEF):
        monkeypatch.delenv(name, raising=False)
    parse(["--threads", "1"])
    assert not set(BRIEF) & set(os.environ)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    parse(["--threads", "2"])
    assert {name: os.environ[name] for name in BRIEF} == {**BRIEF, "GOMP_SPINCOUNT": "7"}


def test_every_flag_has_a_rule_and_wrong_values_in_these_tables() -> None:
    assert set(RULES) == set(NAMES)
    assert set(WRONG) == set(NAMES)


@pytest.mark.fault("any text for any flag", kind="input")
def test_a_wrong_value_is_answered_in_one_line_with_the_flag_and_what_is_right(fault: Any) -> None:
    fault.tried(sum(map(len, WRONG.values())))
    for flag, values in WRONG.items():
        for value in values:
            line = refused([f"--{flag}={value}"])
            assert line.startswith(f"error: --{flag}: "), (flag, value)
            assert line.endswith(f"; expected {RULES[flag].words}"), (flag, value)


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(refused(["--seed", "9" * 4000])) < 200
    assert len(refused(["--dataset", "x" * 4000])) < 200


UNKNOWN = [
    (["--datset", "mnist"], "unknown argument --datset; did you mean --dataset?"),
    (["--max-epochs=3"], "unknown argument --max-epochs=3; did you mean --max_epochs?"),
    (["--zzz", "1"], "unknown argument --zzz; see --help"),
    (["--data_di", "x"], "unknown argument --data_di; did you mean --data_dir?"),
    (["digits"], "unknown argument digits; see --help"),
    (["--images", "a.png"], "unknown argument --images; did you mean --image_size?"),
    (["--seed", "1", "2"], "unknown argument 2; see --help"),
    (["--seed.x", "1"], "unknown argument ending in .x; see --help"),
    ([""], "unknown argument ''; see --help"),
    (["--seed"], f"--seed: no value given; expected {RULES['seed'].words}"),
    (["--config"], "--config: no value given; expected a YAML file"),
    (["--config", "--seed", "1"], "--config: no value given; expected a YAML file"),
]


@pytest.mark.fault("any text for any flag", kind="input")
def test_an_unknown_or_unfinished_argument_is_answered_with_the_nearest_known(fault: Any) -> None:
    fault.tried(len(UNKNOWN))
    for argv, message in UNKNOWN:
        assert refused(argv) == f"error: {message}"


def test_images_without_a_file_are_answered_in_one_line() -> None:
    assert refused(["--images"], images=True).startswith("error: --images: no value given")
    assert "did you mean --images?" in refused(["--image", "a.png"], images=True)


@pytest.mark.fault("any text for any flag", kind="input")
@pytest.mark.parametrize(
    "text",
    [
        bomb(30),
        "{a: " * 2_000,
        "[" * 90_000,
        "59:" * 30_000,
        "9" * 9_000,
        pytest.param("[" * 9_000, marks=pytest.mark.long),
    ],
    ids=["bomb", "braces", "many brackets", "base 60", "digits", "brackets"],
)
def test_a_value_that_would_fill_the_memory_is_refused(text: str, fault: Any) -> None:
    flags = ["seed", "lr", "data_dir", "run_dir", "progress_bar", "config"]
    if text.startswith("9"):  # too long a path for a file system, and a path
        flags = [flag for flag in flags if not flag.endswith("_dir")]
    fault.tried(len(flags))
    for flag in flags:
        assert len(refused([f"--{flag}={text}"])) < 400, flag
        assert len(refused([f"--{flag}", text])) < 400, flag


def test_a_switch_may_stand_alone() -> None:
    for flag in BOOLEANS:
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
    config, files = parse_args("raw_pytorch predict", argv, images=True)
    assert files == ["a b.png", "ё.jpg", "1", "null"]
    assert config.seed == 3
    assert parse_args("raw_pytorch predict", [], images=True)[1] == []


@pytest.mark.parametrize("dataset", RECIPES)
def test_a_flag_left_out_takes_the_recipe_of_the_dataset(dataset: str) -> None:
    config = parse(["--dataset", dataset])[0]
    assert RECIPES[dataset] == {name: getattr(config, name) for name in RECIPES[dataset]}
    assert None not in RECIPES[dataset].values()
    for name in RECIPES[dataset]:
        assert getattr(parse(["--dataset", dataset, f"--{name}", "0.5"])[0], name, None) == 0.5 or (
            getattr(parse(["--dataset", dataset, f"--{name}", "5"])[0], name) == 5
        )


words = (
    st.text(max_size=20)
    | st.sampled_from(["-", "--", "-1", "--help=1", "null", "=", "{}", "[", "&a", "*a", "!!int x"])
    | st.floats().map(str)
    | st.integers().map(str)
)


@pytest.mark.fault("any text for any flag", kind="input")
@settings(deadline=None, max_examples=40)
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


# A command before the flags


def commanded(argv: Sequence[str], side: str = "raw_pytorch") -> tuple[int | None, str, str]:
    """The exit status, or None; and what was written to stdout and to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            parse_command(side, argv)
            status = None
        except SystemExit as leaving:
            status = leaving.code
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_the_flags_after_it(name: str) -> None:
    command, config, images = parse_command("lightning", [name, "--seed", "5"])
    assert (command, config, images) == (name, Config(seed=5), [])
    status, out, _ = commanded([name, "--help"])
    assert status == 0
    assert out.startswith(f"usage: python -m raw_pytorch {name} ")
    assert ("--images" in out) == (name == "predict")


def test_only_predict_takes_images() -> None:
    assert parse_command("lightning", ["predict", "--images", "a.png", "b"])[2] == ["a.png", "b"]
    assert commanded(["test", "--images", "a.png"])[0] == 2


def test_help_without_a_command_says_what_the_three_do() -> None:
    for flag in ("--help", "-h"):
        status, out, err = commanded([flag])
        assert (status, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 88
        for name, does in COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(does)}$", out, re.M)
        assert "python -m raw_pytorch train --help" in out


@pytest.mark.fault("any text for any flag", kind="input")
def test_a_missing_or_wrong_command_is_answered_in_one_line(fault: Any) -> None:
    wrong = {
        (): "no command given; expected train, test or predict, as in python -m lightning train",
        ("trian",): "unknown command trian; did you mean train?",
        ("Predict", "--seed", "1"): "unknown command Predict; did you mean predict?",
        ("help",): "unknown command help; expected train, test or predict",
        ("",): "unknown command ''; expected train, test or predict",
        ("x" * 5000,): f"unknown command {'x' * 57}...; expected train, test or predict",
        ("--seed", "1", "train"): "--seed stands before the command; expected train, test or "
        "predict first",
        ("train", "--sed", "1"): "unknown argument --sed; did you mean --seed?",
        ("test", "--seed", "x"): f"--seed: got 'x'; expected {RULES['seed'].words}",
    }
    fault.tried(len(wrong))
    for argv, message in wrong.items():
        assert commanded(argv, "lightning") == (2, "", f"error: {message}\n")


def test_the_defaults_of_a_recipe_stand_in_the_help() -> None:
    _, out, _ = commanded(["train", "--help"])
    text = " ".join(out.split())
    for name in RECIPES["mnist"]:
        recipe = FIELDS[name].metadata["recipe"]
        default = ", ".join(f"{dataset} {value}" for dataset, value in recipe.items())
        assert f"Default: {default}." in text.replace("- ", "-"), name
