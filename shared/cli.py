"""The command line of both sides and of the programs beside them: from flags and YAML files to a
`Config`, or to one line about what was wrong. Nothing here imports torch."""

from __future__ import annotations

import difflib
import functools
import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import need, ranks
from shared.config import FIELDS, RULES, Config
from shared.errors import UsageError, fail, in_one_line, shown
from shared.screen import open_screens, read_utf8
from shared.signals import leave_on_signal, leave_with_launcher

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "train": "Train on the chosen dataset, then test the best checkpoint.",
    "test": "Test a checkpoint of a run.",
    "predict": "Write predictions.csv for the test split, or classify pictures of your own.",
}
NAMES = list(FIELDS)
BOOLEANS = [name for name, field in FIELDS.items() if field.type == "bool"]


def parse_command(side: str, argv: Sequence[str] | None = None) -> tuple[str, Config, list[str]]:
    """Read the command line of a side: `train`, `test` or `predict`, and the flags after it.

    Args:
        side: the package that was run, as `raw_pytorch`.
        argv: the arguments; `sys.argv[1:]` if None.

    Returns:
        The command, the configuration, and the files given to `--images` of predict.

    Exits and catches signals as `parse_args` does.
    """
    _begin()
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in ("-h", "--help"):
        print(_overview(side))
        raise SystemExit(0)
    if not argv or argv[0] not in COMMANDS:
        fail(_no_command(side, argv), 2)
    command, *flags = argv
    images = command == "predict"
    return command, *_parse(f"{side} {command}", flags, images)


def _begin() -> None:
    read_utf8()
    open_screens()
    leave_on_signal()
    # What torch's C++ finds worth a page, it raises as an error, too, of which we print one line.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        ranks.forget_leftovers()
    except ValueError as error:
        fail(str(error), 2)
    leave_with_launcher()


def _overview(side: str) -> str:
    lines = [f"  {name:8} {text}" for name, text in COMMANDS.items()]
    usage = f"usage: python -m {side} {{{','.join(COMMANDS)}}} [flags]"
    more = f"All flags of a command: python -m {side} train --help"
    return "\n".join([usage, "", "commands:", *lines, "", more])


def _no_command(side: str, argv: Sequence[str]) -> str:
    *others, last = COMMANDS
    names = f"{', '.join(others)} or {last}"
    if not argv:
        return f"no command given; expected {names}, as in python -m {side} train"
    if argv[0].startswith("-"):
        return f"{_bare(argv[0])} stands before the command; expected {names} first"
    near = difflib.get_close_matches(argv[0], COMMANDS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"expected {names}"
    return f"unknown command {_bare(argv[0])}; {advice}"


def parse_args(
    program: str,
    argv: Sequence[str] | None = None,
    *,
    images: bool = False,
    description: str = "",
) -> tuple[Config, list[str]]:
    """Read the flags of a program, and the YAML files that they name, into a `Config`.

    Args:
        program: what was run, as `raw_pytorch train` or `shared.compare`; shown in the usage line.
        argv: the arguments; `sys.argv[1:]` if None.
        images: whether the command takes `--images FILE...`, as predict does.
        description: of a program that is none of the three commands, for its help text.

    Returns:
        The configuration and the files given to `--images`.

    Exits with status 0 after `--help` and with status 2 after one line on stderr for a wrong flag.
    From here on, a signal ends the program with one line, too, and with status 130.
    """
    _begin()
    return _parse(program, list(sys.argv[1:] if argv is None else argv), images, description)


def _parse(
    program: str, argv: list[str], images: bool, description: str = ""
) -> tuple[Config, list[str]]:
    try:
        config, files = _read(_make_parser(program, description, images), argv, images)
    except UsageError as error:
        fail(str(error), 2)
    _wait_briefly(config.threads)
    return config, files


# Left to itself, a thread that waits keeps its core busy for as long as it may: good alone, but two
# runs that share their cores then wait for each other. With these, a thread looks a thousand times,
# which covers the gaps within a step, and sleeps. LLVM's and Intel's OpenMP count milliseconds.
BRIEF = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


def _wait_briefly(threads: int) -> None:
    """Have threads that wait sleep soon, unless the environment says how they wait. OpenMP reads it
    once, when torch is loaded."""
    if threads > 1 and "OMP_WAIT_POLICY" not in os.environ:
        for name, value in BRIEF.items():
            os.environ.setdefault(name, value)


@functools.cache
def _make_parser(program: str, description: str, images: bool) -> ArgumentParser:
    need("jsonargparse", "yaml")
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    does = description or COMMANDS.get(re.split("[ .]", program)[-1], "")
    parser = ArgumentParser(
        prog=f"python -m {program}",
        description=f"{does} Flags given later win over earlier ones and over those of a YAML file "
        "given before them.".strip(),
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="A YAML file of these flags.")
    parser.add_class_arguments(Config, as_group=False)
    for action in parser._actions:
        # A switch may stand alone: `--progress_bar` as well as `--progress_bar false`.
        if action.dest in BOOLEANS:
            action.nargs, action.const = "?", True
        if action.dest in FIELDS and (recipe := FIELDS[action.dest].metadata["recipe"]):
            defaults = ", ".join(f"{dataset} {value}" for dataset, value in recipe.items())
            action.help = f"{action.help} Default: {defaults}."
    if images:
        parser.add_argument(
            "--images",
            nargs="+",
            default=[],
            metavar="FILE",
            help="Pictures of your own to classify.",
        )
    return parser


def _read(parser: ArgumentParser, argv: list[str], images: bool) -> tuple[Config, list[str]]:
    for arg in argv:
        if len(arg) > 10_000:
            raise UsageError(f"cannot read {shown(arg)}: {len(arg)} characters; see --help")
        if _tangled(arg.partition("=")[2] if arg.startswith("--") else arg):
            raise UsageError(f"cannot read {shown(arg)}: nested lists or an alias; see --help")
    for file in _config_files(argv):
        _check_yaml(parser, file)
    try:
        values = vars(parser.parse_args(argv))
        files = [str(file) for file in values.pop("images", None) or []]
        values.pop("config")
        return Config(**values), files
    except UsageError:
        raise
    except Exception as error:  # argparse.ArgumentError, jsonargparse's own kinds, OSError
        flags = [*NAMES, "config", *(["images"] if images else [])]
        raise UsageError(_explain(str(error), flags)) from None


def _tangled(text: str) -> int | None:
    """The line in which text, read as YAML, nests or repeats lists as no flag can mean it.

    The parser reads each value as YAML. A few aliases can stand for lists that fill the memory, and
    a thousand brackets end the interpreter.
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > 5 or (depth > 0 and isinstance(event, yaml.AliasEvent)):
                return (event.start_mark.line if event.start_mark else 0) + 1
    except yaml.YAMLError:  # up to here, it was flat
        return None
    return None


def _config_files(argv: Sequence[str]) -> list[str]:
    """The files that the command line gives to `--config`."""
    pairs = itertools.pairwise(argv)
    given = [file for flag, file in pairs if flag == "--config"]
    # A lone dash would be read from the terminal.
    following = [file for file in given if file == "-" or not file.startswith("-")]
    return following + [arg[len("--config=") :] for arg in argv if arg.startswith("--config=")]


def _check_yaml(parser: ArgumentParser, file: str) -> None:
    """Make sure that the file alone makes a `Config`: the parser's own errors do not say which file
    was wrong.

    Raises:
        UsageError: it does not; the message names the file.
    """
    try:
        values = _load_yaml(_read_text(file))
        _check_values(values)
        read = vars(parser.parse_object(values))
        Config(**{name: read[name] for name in NAMES})
    except UsageError as error:
        message = str(error)
    except Exception as error:  # the parser's
        message = _explain(str(error), NAMES)
    else:
        return
    raise UsageError(f"--config: {_bare(file, 300)}: {message.removeprefix('--')}")


def _read_text(file: str) -> str:
    try:
        # To read a pipe or a device may never end.
        if not Path(file).is_file():
            raise UsageError("not a file" if Path(file).exists() else "no such file")
        if Path(file).stat().st_size > 100_000:
            raise UsageError("larger than 100 kB; expected a few lines like seed: 1")
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(error.strerror or "cannot be read") from None
    except ValueError:  # not UTF-8, or a path that cannot be one
        raise UsageError("not a text file") from None


def _load_yaml(text: str) -> dict[Any, Any]:
    import yaml

    if line := _tangled(text):
        raise UsageError(f"nested lists or an alias in line {line}; expected seed: 1")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "wrong character"
        raise UsageError(f"not YAML{where} ({problem})") from None
    except ValueError as error:  # such as a date in February with 30 days
        raise UsageError(f"not YAML ({in_one_line(error, 100)})") from None
    # The parser refuses a mapping without any value.
    if node is None or not isinstance(values, dict) or all(v is None for v in values.values()):
        held = "nothing" if values is None else shown(values)
        raise UsageError(f"holds {held}; expected lines like seed: 1")
    keys = [key.value for key, _ in node.value]
    for key in values:
        if keys.count(key) > 1:
            raise UsageError(f"{key} is given {keys.count(key)} times; expected once")
    return values


def _check_values(values: dict[Any, Any]) -> None:
    for key, value in values.items():
        if key not in NAMES:
            bare = key if isinstance(key, str) else shown(key)
            raise UsageError(f"unknown key {_bare(bare)}; {_nearest(bare, NAMES)}")
        if isinstance(value, (list, dict, set)):
            raise UsageError(f"{key}: got {shown(value)}; expected {RULES[key].words}")


def _explain(message: str, flags: Sequence[str]) -> str:
    """Make one line out of the parser's message: the flag, what was wrong, what would be right."""
    if match := re.search(r"NestedArg\(key='(.*?)'", message):
        return f"unknown argument ending in .{match[1]}; see --help"
    if match := re.search(r'Parser key "(\w+)":', message):
        expected = RULES[match[1]].words if match[1] in RULES else "the path of a picture"
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        got = f"got {shown(given[-1])}" if given else "cannot be read"
        return f"--{match[1]}: {got}; expected {expected}"
    if match := re.search(r"argument --(\w+): (.*)", message):
        wanted = {**{n: rule.words for n, rule in RULES.items()}, "config": "a YAML file"}
        expected = wanted.get(match[1], "at least one file")
        return f"--{match[1]}: no value given; expected {expected}"
    if match := re.search(r"unrecognized arguments: (\S*)", message):
        return f"unknown argument {_bare(match[1])}; {_nearest(match[1], flags)}"
    return " ".join(message.split())[:300] or "the command line could not be read; see --help"


def _bare(text: str, limit: int = 60) -> str:
    """On one line, without quotes unless there is nothing to quote."""
    bare = repr(text)[1:-1] or "''"
    return bare if len(bare) <= limit else bare[: limit - 3] + "..."


def _nearest(unknown: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(unknown.lstrip("-").split("=")[0], names, n=1)
    dashes = "--" if unknown.startswith("-") else ""
    return f"did you mean {dashes}{near[0]}?" if near else "see --help"
