"""Every knob of a run: its rule, its default, and the file it is kept in."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from typing import get_args

import pytest
import yaml

from shared.config import FIELDS, RECIPES, RULES, Config, Dataset, to_yaml
from shared.errors import UsageError

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


def test_a_flag_at_the_value_of_another_recipe_is_kept() -> None:
    config = Config(dataset="mnist", max_epochs=RECIPES["digits"]["max_epochs"])
    assert config.max_epochs == RECIPES["digits"]["max_epochs"]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_a_knob_has_a_rule_and_a_help_text_and_allows_its_own_default() -> None:
    attributes = ast.parse(inspect.getsource(Config)).body[0]
    assert isinstance(attributes, ast.ClassDef)
    fields = [i for i, node in enumerate(attributes.body) if isinstance(node, ast.AnnAssign)]
    assert len(fields) == len(FIELDS) == len(RULES) > 20
    for place in fields:
        text = attributes.body[place + 1]
        assert isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant), place
        assert str(text.value.value).endswith("."), place
    for dataset in RECIPES:
        for name, value in dataclasses.asdict(Config(dataset=dataset)).items():
            assert value is None or RULES[name].allows(value), (dataset, name)


def test_a_recipe_is_given_for_every_dataset() -> None:
    assert list(RECIPES) == list(get_args(Dataset))
    for dataset, recipe in RECIPES.items():
        config = dataclasses.asdict(Config(dataset=dataset))
        assert {name: config[name] for name in recipe} == recipe
        assert None not in recipe.values()


def test_the_yaml_holds_every_knob() -> None:
    assert list(yaml.safe_load(to_yaml(Config()))) == list(FIELDS)


@pytest.mark.parametrize("name", ["$HOME/run", "a/${HOME}", "~/run", "~"])
def test_a_run_folder_is_not_named_by_what_a_shell_has_not_expanded(name):
    """Lightning's logger would expand it, and the other side would not."""
    with pytest.raises(UsageError, match=r"--run_dir: got .*; expected the path of a folder, wi"):
        Config(run_dir=name)
    assert Config(run_dir="a$b~c").run_dir == "a$b~c"
