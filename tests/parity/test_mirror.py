"""What makes the diff between the two folders teach: the rules of the layout, enforced."""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAW, LIGHTNING = ROOT / "raw_pytorch", ROOT / "lightning"
FILES = {side: {p.name for p in side.glob("*.py")} - {"__init__.py"} for side in (RAW, LIGHTNING)}
MIRRORED = sorted(FILES[RAW] & FILES[LIGHTNING])
ONLY_RAW = sorted(FILES[RAW] - FILES[LIGHTNING])
ONLY_LIGHTNING = sorted(FILES[LIGHTNING] - FILES[RAW])
TAG = re.compile(r"\[([a-z-]+)\]")
TAGS = {
    "seed", "device", "data", "train", "validate", "test", "predict", "checkpoint", "resume",
    "early-stop", "schedule", "accumulate", "clip", "precision", "ddp", "log", "progress",
}  # fmt: skip


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def comments(path: Path) -> list[str]:
    """Comment lines, and docstrings, of a file."""
    import io
    import tokenize

    source = path.read_text()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = [token.string for token in tokens if token.type == tokenize.COMMENT]
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [ast.get_docstring(n) for n in ast.walk(tree(path)) if isinstance(n, nodes)]
    return found + [doc for doc in docs if doc]


def tags(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.py")):
        for comment in comments(path):
            for tag in TAG.findall(comment):
                found.setdefault(tag, []).append(path.name)
    return found


def signatures(path: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """For each class, its methods in order with the names of their arguments."""
    return {
        node.name: [
            (method.name, [a.arg for a in method.args.args])
            for method in node.body
            if isinstance(method, ast.FunctionDef)
        ]
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
    }


def test_files_were_found_to_compare():
    names = "__main__ basic data minimal module predict test train"
    assert [f"{name}.py" for name in names.split()] == MIRRORED
    assert len(ONLY_RAW) >= 5


@pytest.mark.parametrize("name", ONLY_LIGHTNING)
def test_a_file_only_lightning_has_opens_with_the_raw_files_that_do_the_same(name):
    opening = ast.get_docstring(tree(LIGHTNING / name))
    named = re.findall(r"\w+\.py", opening.split("By hand")[1])
    assert named
    assert set(named) <= FILES[RAW]


@pytest.mark.parametrize("name", ONLY_RAW)
def test_a_file_only_raw_has_opens_with_its_tag_and_what_replaces_it(name):
    lines = (RAW / name).read_text().splitlines()
    assert TAG.match(lines[0].lstrip('"')), lines[0]
    assert any(line.startswith("Lightning: ") for line in lines[:6])


def test_module_has_the_same_class_and_methods_in_the_same_order():
    raw, lightning = signatures(RAW / "module.py"), signatures(LIGHTNING / "module.py")
    assert raw.keys() == lightning.keys()
    for name in raw:
        # A hook that only Lightning's loop has a place for is the framework's, not ours.
        theirs = [m for m, _ in lightning[name] if not m.startswith("on_")]
        assert [m for m, _ in raw[name]] == theirs
        assert len(theirs) >= 7


def test_data_has_the_same_class_and_methods_in_the_same_order():
    raw, lightning = signatures(RAW / "data.py"), signatures(LIGHTNING / "data.py")
    assert raw.keys() == lightning.keys()
    for name in raw:
        shared = [m for m, _ in lightning[name] if m in dict(raw[name])]
        assert shared == [m for m, _ in raw[name]]


@pytest.mark.parametrize(
    "name, functions",
    [
        ("__main__.py", ["main"]),
        ("train.py", ["train"]),
        ("test.py", ["test"]),
        ("predict.py", ["predict"]),
    ],
)
def test_programs_have_the_same_functions_with_the_same_arguments(name, functions):
    for function in functions:
        raw, lightning = (
            next(n for n in tree(side / name).body if getattr(n, "name", "") == function)
            for side in (RAW, LIGHTNING)
        )
        assert ast.dump(raw.args) == ast.dump(lightning.args)


def test_the_two_modules_differ_in_at_most_30_lines():
    raw, lightning = ((side / "module.py").read_text().splitlines() for side in (RAW, LIGHTNING))
    changed = [line for line in difflib.ndiff(raw, lightning) if line[0] in "-+"]
    assert 10 < len(changed) <= 30


@pytest.mark.parametrize("path", [LIGHTNING / "train.py", LIGHTNING / "basic.py", RAW / "basic.py"])
def test_what_has_to_be_read_on_one_screen_has_at_most_90_lines(path):
    assert 50 < len(path.read_text().splitlines()) <= 90


def test_every_tag_is_of_the_vocabulary_and_stands_on_both_sides():
    raw, lightning = tags(RAW), tags(LIGHTNING)
    assert set(raw) == TAGS
    assert set(lightning) == TAGS


@pytest.mark.parametrize("folder", [RAW, LIGHTNING], ids=lambda folder: folder.name)
def test_every_tag_is_followed_by_a_word_on_what_it_is_there_for(folder):
    found = [c for path in folder.glob("*.py") for c in comments(path) if TAG.search(c)]
    assert len(found) > 20
    assert [comment for comment in found if re.search(r"\]\s*$", comment)] == []


def test_the_two_sides_never_import_each_other_nor_shared_either_of_them():
    allowed = {RAW: {"lightning", "tests"}, LIGHTNING: {"raw_pytorch", "tests"}}
    allowed[ROOT / "shared"] = {"raw_pytorch", "lightning", "tests"}
    checked = 0
    for folder, forbidden in allowed.items():
        for path in folder.rglob("*.py"):
            for node in ast.walk(tree(path)):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                checked += len(names)
                wrong = [n for n in names if n.split(".")[0] in forbidden]
                assert wrong == [], f"{path} imports {wrong}"
    assert checked > 50


def test_the_raw_side_imports_no_lightning():
    for path in [*RAW.rglob("*.py"), *(ROOT / "shared").glob("*.py")]:
        assert not re.search(
            r"^\s*(import|from) (pytorch_lightning|lightning_fabric)", path.read_text(), re.M
        )


def test_no_helper_hides_backward_zero_grad_or_step():
    found = []
    for path in [*RAW.glob("*.py"), *(ROOT / "shared").glob("*.py")]:
        if path.name in ("basic.py", "minimal.py"):
            continue
        for function in (n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef)):
            calls = [n.func for n in ast.walk(function) if isinstance(n, ast.Call)]
            for call in (ast.unparse(call) for call in calls):
                steps = re.fullmatch(r"(\w+\.)*(optimizer|scaler|scheduler)\.(step|update)", call)
                if steps or call.endswith((".backward", ".zero_grad")):
                    found.append((path.name, function.name, call.rsplit(").")[-1]))
    loop = ["optimizer.zero_grad", "scaler.step", "scaler.update", "scheduler.step", "backward"]
    assert sorted(found) == sorted(("train.py", "train", call) for call in loop)


def test_the_raw_loop_stands_in_one_function_without_early_ways_out():
    function = next(n for n in tree(RAW / "train.py").body if getattr(n, "name", "") == "train")
    nodes = list(ast.walk(function))
    assert sum(isinstance(node, (ast.For, ast.While)) for node in nodes) == 2
    inner = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Import, ast.ImportFrom)
    exits = (ast.Break, ast.Continue, ast.Try, ast.Raise)
    assert [n for n in nodes if isinstance(n, (*inner, *exits)) and n is not function] == []
    assert sum(isinstance(node, ast.Return) for node in nodes) == 1


def test_the_raw_side_starts_without_torchmetrics_or_the_machinery_of_scikit_learn():
    code = """
import sys, raw_pytorch.train
from shared.data import load
load("digits", "data")
print([name for name in ("torchmetrics", "sklearn", "scipy", "torchvision") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_top_level_holds_what_the_design_names():
    tracked = {"raw_pytorch", "lightning", "shared", "tests", "Makefile", "README.md"}
    packaging = {"pyproject.toml", "requirements.lock", "LICENSE"}
    # Made by use, and ignored by git; README.zh-TW.md is the README in another language.
    ignored = {"runs", "data", "README.zh-TW.md"}
    names = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    assert names - ignored <= tracked | packaging
