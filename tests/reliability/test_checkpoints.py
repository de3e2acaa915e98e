"""A checkpoint that is damaged, foreign or hostile is refused in one line by every program of both
sides, before anything is restored from it."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.fewer import few
from support.programs import Outcome, Run

from shared.checkpoint_format import BEST_KEY, STOPPING_KEY
from shared.checkpoints import read_checkpoint
from shared.errors import RunError

PROGRAMS = ("train", "test", "predict")


@pytest.fixture
def good(side: str, one_epoch: dict[str, Run]) -> Path:
    return one_epoch[side].folder / "checkpoints" / "last.ckpt"


@pytest.fixture
def refused(
    side: str, command: Callable[..., Outcome], one_line: Callable[..., None], fault: Any
) -> Callable[..., None]:
    """`refused(1, "part", ...)`: bad.ckpt ends the programs in one line with these parts, and with
    this status; nothing is written, and no file is changed."""

    def check(status: int, *parts: str, programs: tuple[str, ...] = PROGRAMS) -> None:
        fault.tried(len(programs))
        before = sorted(Path().rglob("*"))
        for program in programs:
            options = ("--max_epochs", "1") if program == "train" else ()
            done = command(side, program, "--ckpt_path", "bad.ckpt", *options)
            assert (done.status, done.out) == (status, "")
            one_line(done.err, "bad.ckpt", *parts)
            fault.sees(done.err)
        assert sorted(Path().rglob("*")) == before
        assert not Path("executed").exists()

    return check


# What is no checkpoint at all


def packed_zeros(path: Path) -> None:
    """A hundred megabytes in a file of a hundred kilobytes; it would not end at that."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"archive/data/{number}", bytes(10_000_000))


def one_part_many_times(path: Path) -> None:
    """Not packed, but all entries of the directory name the same megabyte."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(1_000_000))
        archive.filelist += archive.filelist * 99


def torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)


def old_pickle(path: Path) -> None:
    torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=False)


FOREIGN: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "nothing": (lambda path: None, 2, "no file"),
    "a folder": (lambda path: path.mkdir(), 2, "is not a file"),
    "a pipe": (lambda path: os.mkfifo(path), 2, "is not a file"),
    "a device without end": (lambda path: path.symlink_to("/dev/zero"), 2, "is not a file"),
    "empty": (lambda path: path.write_bytes(b""), 1, "not a whole checkpoint"),
    "text": (lambda path: path.write_text("hello"), 1, "not a whole checkpoint"),
    "a picture": (lambda path: Image.new("L", (9, 9)).save(path, "PNG"), 1, "not a whole"),
    "numbers of pickle": (lambda path: path.write_bytes(pickle.dumps([1])), 1, "not a whole"),
    "an old PyTorch file": (old_pickle, 1, "not a whole checkpoint"),
    "TorchScript": (torchscript, 1, "not a"),
    "another PyTorch file": (
        lambda path: torch.save({"weights": torch.zeros(2)}, path),
        1,
        "a PyTorch file, but not a checkpoint of this project",
    ),
    "a tensor": (lambda path: torch.save(torch.zeros(2), path), 1, "not a checkpoint of this"),
}


@pytest.mark.fault("a file that is not a checkpoint", kind="checkpoints")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_checkpoint_is_named_with_what_it_is(
    kind: str, refused: Callable[..., None]
) -> None:
    make, status, reason = FOREIGN[kind]
    make(Path("bad.ckpt"))
    refused(status, reason)


@pytest.mark.fault("a hostile checkpoint: code, a bomb", kind="checkpoints")
@pytest.mark.parametrize("bomb", [packed_zeros, one_part_many_times], ids=lambda f: f.__name__)
def test_a_bomb_is_not_opened(
    bomb: Callable[[Path], None], refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb(Path("bad.ckpt"))

    def read(*_: object) -> None:
        raise AssertionError("what is in it must not be read")

    monkeypatch.setattr(zipfile.ZipFile, "open", read)
    refused(1, "a packed zip archive")


# What would run code, if it were unpickled as pickle does it


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


CODE = {
    "os.system": Call(os.system, "touch executed"),
    "eval": Call(eval, "open('executed', 'w')"),
    "exec": Call(exec, "open('executed', 'w')"),
    "Path.touch": Call(Path.touch, Path("executed")),
    "getattr": Call(getattr, Call(__import__, "os"), "system"),
    "torch.load": Call(torch.load, "executed"),
}


@pytest.mark.fault("a hostile checkpoint: code, a bomb", kind="checkpoints")
@pytest.mark.parametrize("where", ["all of it", "in the weights", "in the optimizer", "as a key"])
@pytest.mark.parametrize("code", few(CODE, ["os.system", "torch.load"]))
def test_code_in_a_checkpoint_is_not_run(
    code: str, where: str, good: Path, refused: Callable[..., None]
) -> None:
    checkpoint: Any = read_checkpoint(good)
    if where == "all of it":
        checkpoint = CODE[code]
    elif where == "in the weights":
        checkpoint["state_dict"]["net.0.weight"] = CODE[code]
    elif where == "in the optimizer":
        checkpoint["optimizer_states"][0]["state"] = CODE[code]
    else:
        checkpoint[CODE[code]] = 1
    torch.save(checkpoint, "bad.ckpt")
    refused(1, "holds more than tensors and plain values; not loaded")


# What is damaged


def flat(value: Any) -> Any:
    """All that a checkpoint holds, to be compared by ==."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return [flat(part) for part in value] if isinstance(value, (list, tuple)) else value


def places(content: bytes, draws: random.Random) -> Iterator[int]:
    """Anywhere in the file, in the headers of its parts, and in its directory."""
    yield from (draws.randrange(len(content)) for _ in range(30))
    with zipfile.ZipFile(Path("bad.ckpt")) as archive:
        starts, directory = [part.header_offset for part in archive.infolist()], archive.start_dir
    yield from (draws.choice(starts) + draws.randrange(60) for _ in range(30))
    yield from (draws.randrange(directory, len(content)) for _ in range(30))
    yield from (draws.randrange(len(content) - 98, len(content)) for _ in range(30))


@pytest.mark.fault("a damaged checkpoint", kind="checkpoints")
@pytest.mark.parametrize("seed", few(range(2), [0]))
def test_a_flipped_bit_is_noticed_or_changes_nothing(
    seed: int, good: Path, fault: Any, tmp_path: Path
) -> None:
    content, expected = good.read_bytes(), repr(flat(read_checkpoint(good)))
    bad = Path("bad.ckpt")
    bad.write_bytes(content)
    draws = random.Random(seed)
    flips = [(place, 1 << draws.randrange(8)) for place in places(content, draws)]
    noticed = 0
    for place, bit in flips:
        bad.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        try:
            assert repr(flat(read_checkpoint(bad))) == expected, (place, bit)
        except RunError as error:
            noticed += 1
            assert str(error).startswith("bad.ckpt: "), (place, bit)
            assert len(str(error).splitlines()) == 1, (place, bit)
    assert noticed > len(flips) / 3
    fault.tried(len(flips))


@pytest.mark.fault("a damaged checkpoint", kind="checkpoints")
def test_a_bit_flipped_in_the_weights_is_named(good: Path, refused: Callable[..., None]) -> None:
    content = good.read_bytes()
    middle = len(content) // 2  # where the tensors are
    Path("bad.ckpt").write_bytes(
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
    refused(1, "damaged (the sum of ", "; use another checkpoint")


@pytest.mark.fault("a damaged checkpoint", kind="checkpoints")
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_checkpoint_that_was_cut_short_is_not_a_whole_one(
    share: float, good: Path, refused: Callable[..., None]
) -> None:
    content = good.read_bytes()
    Path("bad.ckpt").write_bytes(content[: int(share * len(content))])
    refused(1, "not a whole checkpoint file")


# What was made by something else


def width(checkpoint: dict) -> None:
    weights = checkpoint["state_dict"]
    weights["net.0.weight"] = weights["net.0.weight"].repeat(2, 1, 1, 1)


def half(checkpoint: dict) -> None:
    weights = checkpoint["state_dict"]
    weights["net.0.weight"] = weights["net.0.weight"].half()


OTHER: dict[str, tuple[Callable[[dict], object], str]] = {
    "newer Lightning": (
        lambda c: c.update({"pytorch-lightning_version": "9.1.0"}),
        "written by pytorch-lightning '9.1.0'; this one reads 2.6",
    ),
    "older Lightning": (
        lambda c: c.update({"pytorch-lightning_version": "1.5.10"}),
        "written by pytorch-lightning '1.5.10'",
    ),
    "no version": (lambda c: c.pop("pytorch-lightning_version"), "pytorch-lightning None"),
    "no number": (lambda c: c.update({"pytorch-lightning_version": []}), "pytorch-lightning []"),
    "wider network": (width, "another network: net.0.weight is torch.float32 [32, 1, 5, 5], not"),
    "half precision": (half, "another network: net.0.weight is torch.float16"),
    "a layer less": (lambda c: c["state_dict"].pop("net.0.weight"), "lack net.0.weight"),
    "a layer more": (
        lambda c: c["state_dict"].update({"net.99.weight": torch.zeros(1)}),
        "another network: it has 'net.99.weight'",
    ),
    "no weights": (lambda c: c.update(state_dict=None), "weights are missing"),
    "another setting": (lambda c: c["hyper_parameters"].update(depth=3), "differ from this"),
    "a setting less": (lambda c: c["hyper_parameters"].pop("dropout"), "differ from this"),
    "a setting out of range": (
        lambda c: c["hyper_parameters"].update(dropout=7.0),
        "not possible (--dropout: got 7.0",
    ),
    "a nested setting": (lambda c: c["hyper_parameters"].update(dropout=[[]]), "not plain values"),
    "no settings": (lambda c: c.update(hyper_parameters=None), "not plain values"),
    "a negative epoch": (lambda c: c.update(epoch=-1), "its epoch is -1"),
    "half a step": (lambda c: c.update(global_step=0.5), "its global_step is 0.5"),
    "no place": (lambda c: c.update(ImageData=None), "its epoch is None"),
}


@pytest.mark.fault("a checkpoint of something else", kind="checkpoints")
@pytest.mark.parametrize("other", few(OTHER, list(OTHER)[::2]))
def test_a_checkpoint_of_something_else_is_refused_with_the_reason(
    other: str, good: Path, refused: Callable[..., None]
) -> None:
    change, reason = OTHER[other]
    checkpoint = read_checkpoint(good)
    change(checkpoint)
    torch.save(checkpoint, "bad.ckpt")
    refused(1, reason)


def other_optimizer(make: Callable[[list], torch.optim.Optimizer]) -> Callable[[dict], None]:
    def change(checkpoint: dict) -> None:
        optimizer = make([torch.nn.Parameter(torch.zeros(1)) for _ in range(11)])
        checkpoint["optimizer_states"] = [optimizer.state_dict()]

    return change


def shorter_moments(checkpoint: dict) -> None:
    state = checkpoint["optimizer_states"][0]["state"][0]
    state["exp_avg"] = state["exp_avg"][:1]


def no_moments(checkpoint: dict) -> None:
    checkpoint["optimizer_states"][0]["state"] = {}


def renamed(checkpoint: dict) -> None:
    callbacks = checkpoint["callbacks"]
    callbacks[BEST_KEY.replace("every_n_epochs", "every_n_passes")] = callbacks.pop(BEST_KEY)


TO_RESUME: dict[str, tuple[Callable[[dict], object], str]] = {
    "SGD": (other_optimizer(lambda p: torch.optim.SGD(p, lr=1e-2)), "not that of this project"),
    "an AdamW of others": (other_optimizer(lambda p: torch.optim.AdamW(p, lr=1e-2)), "missing"),
    "moments of other shapes": (shorter_moments, "exp_avg is torch.float32 [1, 1, 5, 5], not"),
    "no moments": (no_moments, "its optimizer's state 0 are missing"),
    "two optimizers": (lambda c: c["optimizer_states"].append({}), "not those of one optimizer"),
    "no optimizer": (lambda c: c.pop("optimizer_states"), "no optimizer_states to resume from"),
    "no schedule": (lambda c: c.update(lr_schedulers=[]), "no lr_schedulers to resume from"),
    "another schedule": (lambda c: c["lr_schedulers"][0].pop("total_steps"), "not the OneCycleLR"),
    "no loops": (lambda c: c.pop("loops"), "no loops to resume from"),
    "no generators": (lambda c: c.pop("generators"), "no generators to resume from"),
    "no counts": (lambda c: c.pop("train_accuracy"), "no train_accuracy to resume from"),
    "another name of a callback": (renamed, "no state of ModelCheckpoint to resume from"),
    "a callback without a score": (
        lambda c: c["callbacks"][BEST_KEY].pop("best_model_score"),
        "its state of ModelCheckpoint has no best_model_score to resume from",
    ),
    "early stopping without a count": (
        lambda c: c["callbacks"].update({STOPPING_KEY: {"patience": None}}),
        "its state of EarlyStopping has no wait_count to resume from",
    ),
}


@pytest.mark.fault("a checkpoint of something else", kind="checkpoints")
@pytest.mark.parametrize("other", few(TO_RESUME, list(TO_RESUME)[::2]))
def test_what_cannot_be_resumed_is_said_before_a_run_begins(
    other: str, good: Path, refused: Callable[..., None]
) -> None:
    change, reason = TO_RESUME[other]
    checkpoint = read_checkpoint(good)
    change(checkpoint)
    torch.save(checkpoint, "bad.ckpt")
    refused(1, reason, programs=("train",))


@pytest.mark.fault("a checkpoint of something else", kind="checkpoints")
@pytest.mark.parametrize(
    ("flag", "value", "programs"),
    [
        ("dataset", "mnist", PROGRAMS),
        ("seed", "1", ("train",)),
        ("lr", "0.5", ("train",)),
        ("batch_size", "32", ("train",)),
        ("width", "32", ("train",)),
        ("max_epochs", "2", ("train",)),
        ("precision", "bf16-mixed", ("train",)),
        ("gradient_clip_val", "1", ("train",)),
        ("early_stopping_patience", "1", ("train",)),
    ],
)
def test_a_checkpoint_of_another_recipe_names_the_flag(
    flag: str,
    value: str,
    programs: tuple[str, ...],
    side: str,
    good: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    fault.tried(len(programs))
    for program in programs:
        options = {"max_epochs": 1, flag: value}
        flags = (word for name, given in options.items() for word in (f"--{name}", given))
        done = command(side, program, "--ckpt_path", good, *flags)
        assert (done.status, done.out) == (2, "")
        one_line(done.err, f"--{flag}: got ", "was trained with", good)
        fault.sees(done.err.replace(str(good.parent.parent), "run"))
    assert not Path("runs").exists()
