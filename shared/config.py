"""Every knob of a run, once. The command line, the help text and the YAML file of both sides come
from `Config`; nothing here imports torch, so that `--help` and a wrong flag answer at once."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

# The recipe of each dataset: what is used where a flag is not given. It depends on the data, so
# the fields of `Config` cannot hold it as a plain default.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": dict(max_epochs=12, batch_size=64, lr=1e-2, weight_decay=1e-2),
    "mnist": dict(max_epochs=3, batch_size=128, lr=1e-2, weight_decay=1e-2),
    "fashion-mnist": dict(max_epochs=5, batch_size=128, lr=1e-2, weight_decay=1e-2),
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
        UsageError: a value is out of range; the message names the flag, the value and what is right.
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
    """Images in a batch. Default: digits 64, mnist and fashion-mnist 128."""
    lr: float | None = None
    """Peak learning rate of the OneCycle schedule. Default: 0.01."""
    weight_decay: float | None = None
    """Weight decay of AdamW. Default: 0.01."""
    dropout: float = 0.0
    """Probability of dropping a feature before the last layer."""
    accelerator: Accelerator = "auto"
    """Kind of device. auto takes an accelerator if there is one, else the CPU."""
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
        for name, value in RECIPES.get(self.dataset, {}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for field in dataclasses.fields(self):
            expected, is_valid = RULES[field.name]
            value = getattr(self, field.name)
            if not _is_typed(value, field.type) or not is_valid(value):
                raise UsageError(f"--{field.name}: got {_shown(value)}; expected {expected}")


def _one_of(literal: Any) -> tuple[str, Callable[[Any], bool]]:
    return "one of " + ", ".join(literal.__args__), lambda value: value in literal.__args__


def _number(low: float, high: float, text: str) -> tuple[str, Callable[[Any], bool]]:
    return text, lambda value: math.isfinite(value) and low <= value <= high


def _optional(rule: tuple[str, Callable[[Any], bool]]) -> tuple[str, Callable[[Any], bool]]:
    return rule[0], lambda value: value is None or rule[1](value)


def _is_path(value: str) -> bool:
    return bool(value.strip()) and "\0" not in value


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
    "accelerator": _one_of(Accelerator),
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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
    """
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"python -m {program}",
        description=f"{DESCRIPTIONS[program.split('.')[-1]]} Flags given later win over earlier ones "
        "and over those of a YAML file given before them.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="A YAML file of these flags.")
    parser.add_class_arguments(Config, as_group=False)
    for action in parser._actions:
        # A flag that is a switch may stand alone, as `--progress_bar` and as `--progress_bar false`.
        if action.dest in BOOLEANS:
            action.nargs, action.const = "?", True
    if images:
        parser.add_argument(
            "--images", nargs="+", default=[], metavar="FILE", help="Pictures of your own to classify."
        )
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        values = vars(parser.parse_args(argv))
        files = [str(file) for file in values.pop("images", None) or []]
        values.pop("config")
        return Config(**values), files
    except UsageError as error:
        fail(str(error), 2)
    except (TypeError, ValueError, KeyError, AttributeError, OSError) as error:
        fail(_explain(str(error), argv), 2)
    except Exception as error:  # argparse.ArgumentError and jsonargparse's own kinds
        fail(_explain(str(error), argv), 2)


DESCRIPTIONS = {
    "train": "Train on the chosen dataset, then test the best checkpoint.",
    "test": "Test a checkpoint of a run.",
    "predict": "Write predictions.csv for the test split, or classify pictures of your own.",
}
NAMES = [field.name for field in dataclasses.fields(Config)]
BOOLEANS = [field.name for field in dataclasses.fields(Config) if field.type == "bool"]


def _explain(message: str, argv: Sequence[str]) -> str:
    """Make one line out of the parser's message: the flag, what was wrong, what would be right."""
    if match := re.search(r'Parser key "(\w+)":', message):
        name = match[1]
        if name == "config":
            return f"--config: {' '.join(message.split(':', 1)[1].split())}"
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        shown = repr(given[-1]) if given else "something else"
        expected = RULES[name][0] if name in RULES else "the path of a picture"
        return f"--{name}: got {shown[:60]}; expected {expected}"
    if match := re.search(r"argument --(\w+): (.*)", message):
        expected = RULES[match[1]][0] if match[1] in RULES else "at least one file"
        return f"--{match[1]}: {match[2]}; expected {expected}"
    if match := re.search(r"unrecognized arguments: (.*)|Option '(.*?)' is not accepted", message):
        unknown = (match[1] or match[2]).split()[0] if (match[1] or match[2]).split() else "''"
        near = difflib.get_close_matches(unknown.lstrip("-").split("=")[0], [*NAMES, "config"], n=1)
        hint = f"did you mean {'--' if match[1] else ''}{near[0]}?" if near else "see --help"
        where = "" if match[1] else "--config: "
        return f"{where}unknown {'argument' if match[1] else 'key'} {unknown[:60]}; {hint}"
    return " ".join(message.split()) or "the command line could not be read; see --help"


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `--config` reads back to an equal `Config`."""
    import yaml

    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def fail(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def run(command: Callable[[], Any]) -> Any:
    """Call `command()` and turn what a person can mend into one line and an exit status.

    0 done, 1 the run failed, 2 wrong use, 130 interrupted. A traceback is left only for what is a
    defect of this repository, and only where `DEBUG=1` asks for it.
    """
    try:
        return command()
    except UsageError as error:
        fail(str(error), 2)
    except (KeyboardInterrupt, Interrupted) as error:
        # A second Ctrl+C while the last line is written would print the traceback after all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        fail(str(error) or "interrupted", 130)
    except RunError as error:
        fail(str(error), 1)
    except OSError as error:
        fail(describe(error), 1)
    except Exception as error:
        if os.environ.get("DEBUG"):
            traceback.print_exc()
        first_line = (str(error).strip() or "no message").splitlines()[0]
        fail(f"{type(error).__name__}: {first_line} (DEBUG=1 shows where)", 1)


def describe(error: OSError) -> str:
    """An operating system's error as one line that names the file and what to do."""
    advice = {
        errno.ENOSPC: "free some space or give another --run_dir",
        errno.EDQUOT: "free some space or give another --run_dir",
        errno.EACCES: "choose a folder you may write to with --run_dir",
        errno.EPERM: "choose a folder you may write to with --run_dir",
        errno.EROFS: "choose a folder you may write to with --run_dir",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ENOTDIR: "a part of this path is a file, not a folder",
    }.get(error.errno, "")
    name = f"{Path(os.fsdecode(error.filename))}: " if error.filename else ""
    reason = error.strerror or str(error)
    return f"{name}{reason}" + (f"; {advice}" if advice else "")
