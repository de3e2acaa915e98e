"""Every knob of a run, once. The command line, the help text and the YAML file of both sides come
from `Config`; nothing here imports torch, so that `--help` and a wrong flag answer at once."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared import ranks
from shared.errors import UsageError, shown

Dataset = Literal[
    "digits", "mnist", "fashion-mnist", "kmnist", "qmnist", "emnist-balanced", "emnist-letters",
    "folder",
]  # fmt: skip
Accelerator = Literal["auto", "cpu", "cuda", "mps", "tpu"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Rule:
    """What a knob takes: in words, as the error line says it, and as a test of a value of its type
    that is not None."""

    words: str
    allows: Callable[[Any], bool]


def knob(rule: Rule, default: Any = None, *, recipe: Mapping[str, Any] | None = None) -> Any:
    """A field of `Config`. The text below the field is its help.

    Args:
        recipe: the default of each dataset, or of `others`, where it depends on the data.
    """
    return dataclasses.field(default=default, metadata={"rule": rule, "recipe": recipe or {}})


def one_of(literal: Any) -> Rule:
    names = get_args(literal)
    return Rule("one of " + ", ".join(names), lambda value: value in names)


def whole(low: int, high: int) -> Rule:
    return Rule(f"a whole number from {low} to {high}", lambda value: low <= value <= high)


def path(words: str) -> Rule:
    return Rule(words, _is_path)


def _is_path(value: str) -> bool:
    # YAML reads these as no value, so they would not come back from the run's config.yaml.
    no_value = ("null", "Null", "NULL", "~")
    # Neither would bytes that are no text, which Python shows as half a character each.
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in value)
    return bool(value.strip()) and "\0" not in value and is_text and value not in no_value


def _is_literal_path(value: str) -> bool:
    # Lightning's logger would expand it: in a YAML file or in quotes, no shell has.
    return _is_path(value) and os.path.expandvars(os.path.expanduser(value)) == value


def _is_model(value: str) -> bool:
    file, _, name = value.rpartition(":")
    is_own = file.endswith(".py") and name.isidentifier() and _is_path(value)
    return is_own or value == "ConvNet"


SWITCH = Rule("true or false", lambda value: True)


@dataclass(frozen=True)
class Config:
    """One run. `max_epochs`, `dropout` and `log_every_n_steps` may be left at None, and so may
    `devices` and `num_nodes`: the recipe of the dataset, and what torchrun started, take their
    place when the object is made.

    Raises:
        UsageError: a value is out of range; the message names the flag, the value and what fits.
    """

    dataset: Dataset = knob(one_of(Dataset), "digits")
    """Pictures to learn: digits (embedded, no network), a dataset that is downloaded when first
    needed, or folder: your own pictures in --data_dir."""

    data_dir: str = knob(path("the path of a folder"), "data")
    """Folder for downloads. If it holds the files of the dataset already, packed or not, these are
    used as they are. For folder: a folder of pictures for each class, or train, val and test with
    such folders."""

    image_size: int = knob(whole(16, 512), 28)
    """Pixels of a side, to which pictures of another size are scaled."""

    run_dir: str | None = knob(Rule("the path of a folder, without ~ or $NAME", _is_literal_path))
    """Folder of this run. Default: runs/<side>/<dataset>/version_<next free>."""

    # The range of numpy's and pytorch_lightning's seeds.
    seed: int = knob(whole(0, 2**32 - 1), 0)
    """Seed of the weights, the dropout masks and the order of the batches."""

    max_epochs: int = knob(
        whole(1, 1_000_000),
        recipe={
            "digits": 12, "mnist": 3, "fashion-mnist": 5, "kmnist": 5, "qmnist": 3,
            "emnist-balanced": 3, "emnist-letters": 3, "folder": 10,
        },
    )  # fmt: skip
    """Epochs to train."""

    batch_size: int = knob(whole(1, 1_000_000), 64)
    """Images in a batch of one process."""

    lr: float = knob(Rule("a number above 0, at most 100", lambda lr: 0 < lr <= 100), 1e-2)
    """Peak learning rate of the OneCycle schedule."""

    weight_decay: float = knob(
        Rule("a number from 0 to 100", lambda decay: 0 <= decay <= 100), 5e-2
    )
    """Weight decay of AdamW."""

    dropout: float = knob(
        Rule("a number from 0 to below 1", lambda dropout: 0 <= dropout < 1),
        recipe={
            "digits": 0.1, "mnist": 0.0, "fashion-mnist": 0.0, "kmnist": 0.0, "qmnist": 0.0,
            "emnist-balanced": 0.0, "emnist-letters": 0.0, "folder": 0.1,
        },
    )  # fmt: skip
    """Probability of dropping a feature before the last layer."""

    width: int = knob(whole(1, 4096), 16)
    """Channels of the first convolution; the others have two and four times as many."""

    model: str = knob(
        Rule("ConvNet, or a class or function as mine.py:MyNet", _is_model), "ConvNet"
    )
    """The network: ConvNet, or one of your own, as mine.py:MyNet. It is called with those of
    in_shape, num_classes, dropout and width that it takes."""

    accelerator: Accelerator = knob(one_of(Accelerator), "auto")
    """Kind of device. auto takes an accelerator if there is one, else the CPU."""

    devices: int = knob(whole(1, 1024))
    """Devices on each machine, with a process and a batch for each. Default: 1, or what torchrun
    started."""

    num_nodes: int = knob(whole(1, 1024))
    """Machines. Default: 1, or what torchrun started."""

    threads: int = knob(whole(1, 1024), 1)
    """Processor threads of each process. With 2, a step on an idle machine takes two thirds of the
    time; but runs that share cores then wait for each other. The last bits depend on it."""

    precision: Precision = knob(one_of(Precision), "32-true")
    """Numbers to compute with. 16-mixed needs a GPU."""

    compile: bool = knob(SWITCH, False)
    """Compile the network with torch.compile, which takes up to a minute at first."""

    accumulate_grad_batches: int = knob(whole(1, 1_000_000), 1)
    """Batches whose gradients are added up before each optimizer step."""

    gradient_clip_val: float | None = knob(
        Rule("a number above 0", lambda limit: 0 < limit < math.inf)
    )
    """Largest norm of all gradients together. Default: no limit."""

    early_stopping_patience: int | None = knob(whole(1, 1_000_000))
    """Epochs without a better validation loss after which to stop. Default: never."""

    checkpoint_every_n_steps: int | None = knob(whole(1, 1_000_000_000))
    """Optimizer steps between checkpoints within an epoch. Default: at the end of epochs only."""

    fast_dev_run: bool = knob(SWITCH, False)
    """Run one batch of training, validation and testing, and write nothing."""

    num_workers: int = knob(whole(0, 1024), 0)
    """Processes that load batches. 0 is fastest here: the data lies in memory."""

    log_every_n_steps: int = knob(whole(1, 1_000_000_000), recipe={"digits": 5, "others": 50})
    """Optimizer steps between two points of train/loss and lr in TensorBoard."""

    progress_bar: bool = knob(SWITCH, True)
    """Show a progress bar when the output is a terminal."""

    ckpt_path: str | None = knob(path("a checkpoint file, or last or best"))
    """Checkpoint file, or last or best of the run folder. train resumes from it; test and predict
    load it (default: best)."""

    def __post_init__(self) -> None:
        recipe = RECIPES.get(str(self.dataset), {})
        try:
            started = ranks.started()
        except ValueError as error:
            raise UsageError(str(error)) from None
        machines = dict(zip(("devices", "num_nodes"), started or (1, 1), strict=True))
        for name, value in {**recipe, **machines}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for field in dataclasses.fields(self):
            rule, value = RULES[field.name], getattr(self, field.name)
            if not _is_typed(value, str(field.type)) or not (value is None or rule.allows(value)):
                raise UsageError(f"--{field.name}: got {shown(value)}; expected {rule.words}")
        for name, there in machines.items() if started else ():
            if getattr(self, name) != there:
                what = {"devices": "processes on each machine", "num_nodes": "machines"}[name]
                raise UsageError(
                    f"--{name}: got {getattr(self, name)}, but torchrun started {there} {what}; "
                    f"leave the flag out, or give both the same number"
                )

    def hparams(self) -> dict[str, Any]:
        """What a run's result depends on and was given, since it is not as by default."""
        usual = {**vars(Config(dataset=self.dataset)), "dataset": FIELDS["dataset"].default}
        return {k: v for k, v in vars(self).items() if k not in SILENT and v != usual[k]}

    def data_hparams(self) -> dict[str, Any]:
        """The arguments of `ImageData`."""
        names = ("dataset", "data_dir", "image_size", "batch_size", "seed", "num_workers")
        return {name: getattr(self, name) for name in names}

    def module_hparams(self) -> dict[str, Any]:
        """The arguments of `ImageClassifier`."""
        names = ("lr", "weight_decay", "dropout", "width", "model")
        return {name: getattr(self, name) for name in names} | self._task()

    def _task(self) -> dict[str, list[Any]]:
        """What the network is to tell apart: the shape of a sample, and the names of the classes.

        Raises:
            RunError: `--dataset folder`, and the folder holds no classes.
        """
        from shared import data  # loads torch, which `--help` need not wait for

        info = data.describe(self.dataset, self.data_dir)
        in_shape = info.shape or (info.channels, self.image_size, self.image_size)
        return {"in_shape": list(in_shape), "classes": list(info.classes)}

    @property
    def world_size(self) -> int:
        """The number of processes, over all machines."""
        return self.devices * self.num_nodes

    def recipe(self) -> dict[str, Any]:
        """What else the weights depend on. A checkpoint holds it under `recipe`, and only a run of
        the same recipe can resume from that checkpoint."""
        names = ["max_epochs", "accumulate_grad_batches", "precision", "compile"]
        names += ["gradient_clip_val", "early_stopping_patience"]
        return {name: getattr(self, name) for name in names}


# What changes no result.
SILENT = {
    "data_dir", "run_dir", "ckpt_path", "progress_bar", "num_workers", "log_every_n_steps",
}  # fmt: skip
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
RULES: dict[str, Rule] = {name: field.metadata["rule"] for name, field in FIELDS.items()}

# What a dataset sets where a flag is not given.
RECIPES: dict[str, dict[str, Any]] = {
    dataset: {
        name: recipe[dataset if dataset in recipe else "others"]
        for name, field in FIELDS.items()
        if (recipe := field.metadata["recipe"])
    }
    for dataset in get_args(Dataset)
}


def _is_typed(value: Any, annotation: str) -> bool:
    """Whether value fits a field's annotation, which is a string under postponed evaluation."""
    if value is None:
        return "None" in annotation
    if isinstance(value, bool):
        return annotation.startswith("bool")
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool}
    return isinstance(value, kinds.get(annotation.split(" ")[0], str))


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `--config` reads back to an equal `Config`."""
    import yaml

    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)
