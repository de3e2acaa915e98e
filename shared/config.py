"""Every knob of a run, once. The command line, the help text and the YAML file of both sides come
from `Config`; nothing here imports torch, so that `--help` and a wrong flag answer at once."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import itertools
import math
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

from shared import ranks

# The recipe of each dataset: what is used where a flag is not given. It depends on the data, so
# the fields of `Config` cannot hold it as a plain default.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": dict(max_epochs=12, batch_size=64, lr=1e-2, weight_decay=5e-2, dropout=0.1),
    "mnist": dict(max_epochs=3, batch_size=64, lr=1e-2, weight_decay=5e-2, dropout=0.0),
    "fashion-mnist": dict(max_epochs=5, batch_size=64, lr=1e-2, weight_decay=5e-2, dropout=0.0),
}

Dataset = Literal["digits", "mnist", "fashion-mnist"]
Accelerator = Literal["auto", "cpu", "cuda", "mps", "tpu"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class UsageError(Exception):
    """The command was wrong: one line on stderr, exit status 2."""


class RunError(Exception):
    """The run failed for a reason a person can mend: one line on stderr, exit status 1."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM ended the run: one line on stderr, exit status 130.

    Not an `Exception`, like `KeyboardInterrupt`, so that no `except Exception` on the way out,
    ours or a library's, takes it for a failure.
    """


@dataclass(frozen=True)
class Config:
    """One run. Fields left at None take the recipe of the dataset when the object is made.

    Raises:
        UsageError: a value is out of range; the message names the flag, the value and what fits.
    """

    dataset: Dataset = "digits"
    """Pictures to learn: digits (embedded, no network), mnist or fashion-mnist."""
    data_dir: str = "data"
    """Folder for downloads. If it holds the four original .gz files, or torchvision's layout, these
    are used as they are and nothing is downloaded."""
    run_dir: str | None = None
    """Folder of this run. Default: runs/<side>/<dataset>/version_<next free>."""
    seed: int = 0
    """Seed of the weights, the dropout masks and the order of the batches."""
    max_epochs: int | None = None
    """Epochs to train. Default: digits 12, mnist 3, fashion-mnist 5."""
    batch_size: int | None = None
    """Images in a batch of one process. Default: 64."""
    lr: float | None = None
    """Peak learning rate of the OneCycle schedule. Default: 0.01."""
    weight_decay: float | None = None
    """Weight decay of AdamW. Default: 0.05."""
    dropout: float | None = None
    """Probability of dropping a feature before the last layer. Default: digits 0.1, mnist and
    fashion-mnist 0."""
    width: int = 16
    """Channels of the first convolution; the others have two and four times as many."""
    accelerator: Accelerator = "auto"
    """Kind of device. auto takes an accelerator if there is one, else the CPU."""
    devices: int | None = None
    """Devices on each machine, with a process and a batch for each. Default: 1, or what torchrun
    started."""
    num_nodes: int | None = None
    """Machines. Default: 1, or what torchrun started."""
    threads: int = 1
    """Processor threads of each process. With 2, a step on an idle machine takes two thirds of the
    time; but runs that share cores then wait for each other. The last bits depend on it."""
    precision: Precision = "32-true"
    """Numbers to compute with. 16-mixed needs a GPU."""
    compile: bool = False
    """Compile the network with torch.compile, which takes up to a minute at first."""
    accumulate_grad_batches: int = 1
    """Batches whose gradients are added up before each optimizer step."""
    gradient_clip_val: float | None = None
    """Largest norm of all gradients together. Default: no limit."""
    early_stopping_patience: int | None = None
    """Epochs without a better validation loss after which to stop. Default: never."""
    checkpoint_every_n_steps: int | None = None
    """Optimizer steps between checkpoints within an epoch. Default: at the end of epochs only."""
    fast_dev_run: bool = False
    """Run one batch of training, validation and testing, and write nothing."""
    num_workers: int = 0
    """Processes that load batches. 0 is fastest here: the data lies in memory."""
    log_every_n_steps: int = 50
    """Optimizer steps between two points of train/loss and lr in TensorBoard."""
    progress_bar: bool = True
    """Show a progress bar when the output is a terminal."""
    ckpt_path: str | None = None
    """Checkpoint file, or last or best of the run folder. train resumes from it; test and predict
    load it (default: best)."""

    def __post_init__(self) -> None:
        for name, value in RECIPES.get(str(self.dataset), {}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        started = ranks.started()
        for name, there in zip(("devices", "num_nodes"), started or (1, 1), strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, there)
        for field in dataclasses.fields(self):
            expected, is_valid = RULES[field.name]
            value = getattr(self, field.name)
            if not _is_typed(value, field.type) or not is_valid(value):
                raise UsageError(f"--{field.name}: got {shown(value)}; expected {expected}")
        for name, there in zip(("devices", "num_nodes"), started or (), strict=False):
            if getattr(self, name) != there:
                what = {"devices": "processes on each machine", "num_nodes": "machines"}[name]
                raise UsageError(
                    f"--{name}: got {getattr(self, name)}, but torchrun started {there} {what}; "
                    f"leave the flag out, or give both the same number"
                )

    def hparams(self) -> dict[str, Any]:
        """What a run's result depends on, as TensorBoard can show it."""
        silent = {"data_dir", "run_dir", "ckpt_path", "progress_bar", "num_workers"}
        values = {k: v for k, v in dataclasses.asdict(self).items() if k not in silent}
        return {name: "off" if value is None else value for name, value in values.items()}

    def data_hparams(self) -> dict[str, Any]:
        """The arguments of `ImageData`."""
        names = ("dataset", "data_dir", "batch_size", "seed", "num_workers")
        return {name: getattr(self, name) for name in names}

    def module_hparams(self) -> dict[str, Any]:
        """The arguments of `ImageClassifier`."""
        names = ["lr", "weight_decay", "dropout", "max_epochs", "accumulate_grad_batches", "seed"]
        names += ["width", "compile"]
        return {name: getattr(self, name) for name in names}


def _one_of(literal: Any) -> tuple[str, Callable[[Any], bool]]:
    return "one of " + ", ".join(literal.__args__), lambda value: value in literal.__args__


def _number(low: float, high: float, text: str) -> tuple[str, Callable[[Any], bool]]:
    return text, lambda value: low <= value <= high  # which nan is not


def _optional(rule: tuple[str, Callable[[Any], bool]]) -> tuple[str, Callable[[Any], bool]]:
    return rule[0], lambda value: value is None or rule[1](value)


def _is_path(value: str) -> bool:
    # What YAML reads as no value could not be read back from the run's config.yaml.
    no_value = ("null", "Null", "NULL", "~")
    # Nor could bytes of a name that are no text: Python shows them as half a character each.
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in value)
    return bool(value.strip()) and "\0" not in value and is_text and value not in no_value


# What each flag takes: in words for the error line, and as a test. Seeds are limited to what numpy
# and pytorch_lightning.seed_everything take.
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "dataset": _one_of(Dataset),
    "data_dir": ("the path of a folder", _is_path),
    "run_dir": _optional(("the path of a folder", _is_path)),
    "seed": _number(0, 2**32 - 1, "a whole number from 0 to 4294967295"),
    "max_epochs": _number(1, 1_000_000, "a whole number from 1 to 1000000"),
    "batch_size": _number(1, 1_000_000, "a whole number from 1 to 1000000"),
    "lr": ("a number above 0, at most 100", lambda value: 0 < value <= 100),
    "weight_decay": _number(0, 100, "a number from 0 to 100"),
    "dropout": ("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "width": _number(1, 4096, "a whole number from 1 to 4096"),
    "accelerator": _one_of(Accelerator),
    "devices": _number(1, 1024, "a whole number from 1 to 1024"),
    "num_nodes": _number(1, 1024, "a whole number from 1 to 1024"),
    "threads": _number(1, 1024, "a whole number from 1 to 1024"),
    "precision": _one_of(Precision),
    "compile": ("true or false", lambda value: True),
    "accumulate_grad_batches": _number(1, 1_000_000, "a whole number from 1 to 1000000"),
    "gradient_clip_val": _optional(("a number above 0", lambda value: 0 < value < math.inf)),
    "early_stopping_patience": _optional(_number(1, 1_000_000, "a whole number, 1 or more")),
    "checkpoint_every_n_steps": _optional(_number(1, 1_000_000_000, "a whole number, 1 or more")),
    "fast_dev_run": ("true or false", lambda value: True),
    "num_workers": _number(0, 1024, "a whole number from 0 to 1024"),
    "log_every_n_steps": _number(1, 1_000_000_000, "a whole number, 1 or more"),
    "progress_bar": ("true or false", lambda value: True),
    "ckpt_path": _optional(("a checkpoint file, or last or best", _is_path)),
}


def _is_typed(value: Any, annotation: str) -> bool:
    """Whether value fits a field's annotation, which is a string under postponed evaluation."""
    if value is None:
        return "None" in annotation
    if isinstance(value, bool):
        return annotation.startswith("bool")
    kinds = {"int": int, "float": (int, float), "bool": bool}
    return isinstance(value, kinds.get(annotation.split(" ")[0], str))


def shown(value: Any, limit: int = 60) -> str:
    """A value as an error line repeats it: as Python writes it, and not at any length."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def parse_args(
    program: str, argv: Sequence[str] | None = None, *, images: bool = False
) -> tuple[Config, list[str]]:
    """Read the command line, and the YAML file it names, into a `Config`.

    Args:
        program: the module that was run, as `raw_pytorch.train`; shown in the usage line.
        argv: the arguments; `sys.argv[1:]` if None.
        images: whether the command takes `--images FILE...`, as predict does.

    Returns:
        The configuration and the files given to `--images`.

    Exits with status 0 after `--help` and with status 2 after one line on stderr for a wrong flag.
    From here on, SIGINT and SIGTERM end the program with one line, too, and with status 130.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, partial(_leave, os.getpid()))
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"python -m {program}",
        description=f"{DESCRIPTIONS[program.split('.')[-1]]} Flags given later win over earlier "
        "ones and over those of a YAML file given before them.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="A YAML file of these flags.")
    parser.add_class_arguments(Config, as_group=False)
    for action in parser._actions:
        # A switch may stand alone: `--progress_bar` as well as `--progress_bar false`.
        if action.dest in BOOLEANS:
            action.nargs, action.const = "?", True
    if images:
        parser.add_argument(
            "--images",
            nargs="+",
            default=[],
            metavar="FILE",
            help="Pictures of your own to classify.",
        )
    argv = list(sys.argv[1:] if argv is None else argv)
    for arg in argv:
        if len(arg) > 10_000:
            fail(f"cannot read {shown(arg)}: {len(arg)} characters; see --help", 2)
        if _tangled(arg.partition("=")[2] if arg.startswith("--") else arg):
            fail(f"cannot read {shown(arg)}: nested lists or an alias; see --help", 2)
    for file in _config_files(argv):
        _check_yaml(parser, file)
    try:
        values = vars(parser.parse_args(argv))
        files = [str(file) for file in values.pop("images", None) or []]
        values.pop("config")
        return Config(**values), files
    except UsageError as error:
        fail(str(error), 2)
    except Exception as error:  # argparse.ArgumentError, jsonargparse's own kinds, OSError
        flags = [*NAMES, "config", *(["images"] if images else [])]
        fail(_explain(str(error), flags), 2)


def _leave(process: int, number: int, frame: FrameType | None) -> NoReturn:
    """End at once, while there is nothing to save: libraries take seconds to load."""
    signal.signal(number, signal.SIG_IGN)
    if os.getpid() != process:  # a worker, which the terminal sends it to, too
        raise SystemExit(130)
    fail(f"interrupted by {signal.Signals(number).name}", 130)


DESCRIPTIONS = {
    "train": "Train on the chosen dataset, then test the best checkpoint.",
    "accuracy": "Train both sides with five seeds, and compare.",
    "compare": "Train both sides, and write a page that compares them; or, with --raw RUN "
    "--lightning RUN and nothing else, compare two runs that are there.",
    "limit": "Take the training steps on batches that lie ready, and nothing else.",
    "ladder": "Train with one feature of the Trainer: the rung named before the flags.",
    "test": "Test a checkpoint of a run.",
    "predict": "Write predictions.csv for the test split, or classify pictures of your own.",
}
NAMES = [field.name for field in dataclasses.fields(Config)]
BOOLEANS = [field.name for field in dataclasses.fields(Config) if field.type == "bool"]


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
                return event.start_mark.line + 1
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


def _check_yaml(parser: Any, file: str) -> None:
    """End with one line unless the file alone makes a `Config`: the parser's own errors do not say
    which file was wrong."""
    import yaml

    where = f"--config: {_bare(file, 300)}"
    try:
        # Not a pipe or a device: reading one may never end.
        if not Path(file).is_file():
            fail(f"{where}: {'not a' if Path(file).exists() else 'no such'} file", 2)
        if Path(file).stat().st_size > 100_000:
            fail(f"{where}: larger than 100 kB; expected a few lines like seed: 1", 2)
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{where}: {error.strerror}", 2)
    except ValueError:  # not UTF-8, or a path that cannot be one
        fail(f"{where}: not a text file", 2)
    try:
        if line := _tangled(text):
            fail(f"{where}: nested lists or an alias in line {line}; expected seed: 1", 2)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        fail(f"{where}: not YAML{line} ({getattr(error, 'problem', None) or 'wrong character'})", 2)
    except ValueError as error:  # such as a date in February with 30 days
        fail(f"{where}: not YAML ({' '.join(str(error).split())[:100]})", 2)
    # The parser refuses a mapping without any value.
    if not isinstance(values, dict) or all(v is None for v in values.values()):
        held = "nothing" if values is None else shown(values)
        fail(f"{where}: holds {held}; expected lines like seed: 1", 2)
    keys = [key.value for key, _ in node.value]
    for key, value in values.items():
        if key not in NAMES:
            bare = key if isinstance(key, str) else shown(key)
            fail(f"{where}: unknown key {_bare(bare)}; {_nearest(bare, NAMES)}", 2)
        if keys.count(key) > 1:
            fail(f"{where}: {key} is given {keys.count(key)} times; expected once", 2)
        if isinstance(value, (list, dict, set)):
            fail(f"{where}: {key}: got {shown(value)}; expected {RULES[key][0]}", 2)
    try:
        read = vars(parser.parse_object(values))
        Config(**{name: read[name] for name in NAMES})
    except Exception as error:
        message = str(error) if isinstance(error, UsageError) else _explain(str(error), NAMES)
        fail(f"{where}: {message.removeprefix('--')}", 2)


def _explain(message: str, flags: Sequence[str]) -> str:
    """Make one line out of the parser's message: the flag, what was wrong, what would be right."""
    if match := re.search(r"NestedArg\(key='(.*?)'", message):
        return f"unknown argument ending in .{match[1]}; see --help"
    if match := re.search(r'Parser key "(\w+)":', message):
        expected = RULES[match[1]][0] if match[1] in RULES else "the path of a picture"
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        got = f"got {shown(given[-1])}" if given else "cannot be read"
        return f"--{match[1]}: {got}; expected {expected}"
    if match := re.search(r"argument --(\w+): (.*)", message):
        wanted = {**{n: rule[0] for n, rule in RULES.items()}, "config": "a YAML file"}
        expected = wanted.get(match[1], "at least one file")
        return f"--{match[1]}: no value given; expected {expected}"
    if match := re.search(r"unrecognized arguments: (\S*)", message):
        return f"unknown argument {_bare(match[1])}; {_nearest(match[1], flags)}"
    return " ".join(message.split())[:300] or "the command line could not be read; see --help"


def _bare(text: str, limit: int = 60) -> str:
    """On one line, without quotes unless there is nothing to quote."""
    return shown(text, limit)[1:-1] or "''"


def _nearest(unknown: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(unknown.lstrip("-").split("=")[0], names, n=1)
    dashes = "--" if unknown.startswith("-") else ""
    return f"did you mean {dashes}{near[0]}?" if near else "see --help"


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `--config` reads back to an equal `Config`."""
    import yaml

    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def fail(message: str, status: int) -> NoReturn:
    """End with one line on stderr. Of several processes, all see a wrong command or an interrupt,
    and the first speaks for them; another kind of failure may be the matter of one alone."""
    if ranks.rank() == 0:
        print(f"error: {message}", file=sys.stderr)
    elif status == 1:
        print(f"error: process {ranks.rank()}: {message}", file=sys.stderr)
    raise SystemExit(status)


def run(command: Callable[[], Any]) -> Any:
    """Call `command()` and turn what a person can mend into one line and an exit status.

    0 done, 1 the run failed, 2 wrong use, 130 interrupted. A traceback is left only for what is a
    defect of this repository, and only where `DEBUG=1` asks for it.
    """
    if ranks.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the first process speaks for all
    sys.excepthook = _excepthook
    try:
        return command()
    except UsageError as error:
        fail(str(error), 2)
    except (KeyboardInterrupt, Interrupted) as error:
        # A second Ctrl+C while the last line is written would print the traceback after all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        fail(str(error) or "interrupted", 130)
    except RunError as error:
        fail(_one_line(error), 1)
    except OSError as error:
        fail(describe(error), 1)
    except Exception as error:
        if os.environ.get("DEBUG"):
            traceback.print_exc()
        first_line = _one_line(error)
        if _is_out_of_memory(error):
            fail(f"out of memory ({first_line[:200]}); lower {LOWER}", 1)
        if re.match(r"DataLoader worker .*(killed by signal|exited unexpectedly)", first_line):
            fail(f"{_one_line(error.__cause__ or error)}; {FEWER}", 1)
        if "Connection closed by peer" in first_line or "Connection reset by peer" in first_line:
            fail("another process of this run has ended; what it said is the cause", 1)
        fail(f"{type(error).__name__}: {first_line} (DEBUG=1 shows where)", 1)


def _excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Say nothing of a connection to a worker that was killed: multiprocessing's own thread comes
    here when it breaks off, and what follows from that is said above."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main or not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


# What takes memory, as far as a flag says how much.
LOWER = " or ".join(f"--{name}" for name in ("batch_size", "width") if name in NAMES)
FEWER = "it may have run out of memory: lower --num_workers"


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class of its own for GPUs, and none for the CPU.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or ("DefaultCPUAllocator" in str(error) and "allocate memory" in str(error))
    )


def _one_line(error: BaseException) -> str:
    """What an error says. That of a loader's worker says it after the worker's whole traceback."""
    lines = (str(error).strip() or "no message").splitlines()
    if match := re.match(r"Caught \w+ in DataLoader worker process (\d+)", lines[0]):
        return f"{lines[-1].split(': ', 1)[-1]} (in worker process {match[1]} of the loader)"
    # torch adds guesses to the signal by which a worker was killed.
    return re.sub(r"(is killed by signal: \w+)\..*", r"\1", lines[0])


def describe(error: OSError) -> str:
    """An operating system's error as one line that names the file and what to do."""
    advice = {
        errno.ENOSPC: "free some space or give another --run_dir",
        errno.EDQUOT: "free some space or give another --run_dir",
        errno.EACCES: "choose a folder you may write to with --run_dir",
        errno.EPERM: "choose a folder you may write to with --run_dir",
        errno.EROFS: "choose a folder you may write to with --run_dir",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ENOMEM: f"lower {LOWER}",
        errno.ENOTDIR: "a part of this path is a file, not a folder",
    }.get(error.errno, "")
    path = str(Path(os.fsdecode(error.filename))) if error.filename else ""
    name = f"{path if len(path) <= 300 else f'{path[:140]}...{path[-140:]}'}: " if path else ""
    reason = error.strerror or _one_line(error)
    return f"{name}{reason}" + (f"; {advice}" if advice else "")
