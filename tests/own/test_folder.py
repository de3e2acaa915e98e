"""A folder of your own pictures: its classes and splits, what is kept of it, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.programs import Outcome

from shared.data import describe, load
from shared.data import folder as own

COLOURS = {"blue": (30, 40, 200), "red $ones": (200, 30, 40), "綠": (40, 200, 30)}


def draw(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def make(folder: Path, each: int = 20) -> Path:
    for name, colour in COLOURS.items():
        for i in range(each):
            shade = tuple(max(0, part - i) for part in colour)
            draw(folder / name / f"{i}.png", shade, size=(20 + i, 30))
    return folder


@pytest.fixture
def pictures() -> Path:
    return make(Path("my pictures"))


def listing(folder: Path) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))]


def test_each_folder_is_a_class_of_its_name(pictures: Path) -> None:
    splits = load("folder", pictures, 32)
    assert splits["train"].classes == tuple(sorted(COLOURS)) == describe("folder", pictures).classes
    for split in splits.values():
        assert split.images.shape == (len(split), 3, 32, 32)
        for label, name in enumerate(split.classes):
            found = split.images[split.labels == label][:, :, 16, 16].float().mean(dim=0)
            assert found.argmax() == np.argmax(COLOURS[name])


def test_what_is_not_divided_is_always_divided_alike_with_every_class_in_every_split(
    pictures: Path,
) -> None:
    torch.manual_seed(1)
    first, again = load("folder", pictures), load("folder", pictures)
    assert {name: len(split) for name, split in first.items()} == {
        "train": 48, "val": 6, "test": 6,
    }  # fmt: skip
    for name, split in first.items():
        assert torch.equal(split.images, again[name].images)
        assert split.labels.bincount().tolist() == [len(split) // 3] * 3


def test_train_val_and_test_below_the_folder_are_used_as_they_are() -> None:
    for split, each in {"train": 5, "val": 3, "test": 2}.items():
        make(Path("all", split), each)
    sizes = {name: len(split) for name, split in load("folder", "all").items()}
    assert sizes == {"train": 15, "val": 9, "test": 6}


def test_without_val_a_tenth_of_the_training_pictures_is_drawn() -> None:
    for split, each in {"training": 10, "testing": 2}.items():
        make(Path("all", split), each)
    sizes = {name: len(split) for name, split in load("folder", "all").items()}
    assert sizes == {"train": 27, "val": 3, "test": 6}


def test_grey_large_and_turned_pictures_are_read_whole(pictures: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90°
    Image.new("L", (900, 600), 77).save(pictures / "blue" / "a.jpg", exif=exif, quality=95)
    images = torch.cat([split.images for split in load("folder", pictures, 30).values()])
    (found,) = (image for image in images if (image[:, 15, 15] - 77).abs().max() < 3)
    assert found[:, 15, :4].max() < 9  # upright, it has bars on the left and on the right
    assert found[:, :4, 15].min() > 60


# What is kept


def test_a_second_time_no_picture_is_opened_and_the_folder_is_as_it_was(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listing(pictures)
    first = load("folder", pictures)["train"]
    monkeypatch.setattr(own, "open_picture", None)
    second = load("folder", pictures)["train"]
    assert torch.equal(first.images, second.images)
    assert listing(pictures) == before


def changed(folder: Path) -> None:
    path = folder / "blue" / "3.png"
    status = path.stat()
    draw(path, (1, 2, 3), size=(23, 30))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def added(folder: Path) -> None:
    draw(folder / "blue" / "new.png", (1, 2, 3))


def renamed(folder: Path) -> None:
    draw(folder / "blue" / "0.png", (1, 2, 3))
    (folder / "blue" / "0.png").rename(folder / "綠" / "zz.png")


@pytest.mark.parametrize("change", [changed, added, renamed], ids=lambda change: change.__name__)
def test_a_picture_that_changed_is_noticed(change: Callable[[Path], None], pictures: Path) -> None:
    load("folder", pictures)
    change(pictures)
    images = torch.cat([split.images for split in load("folder", pictures).values()])
    assert (images[:, :, 14, 14] == torch.tensor([1, 2, 3])).all(dim=1).sum() == 1


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_what_was_kept_and_is_damaged_is_read_anew(damage: bytes | None, pictures: Path) -> None:
    first = load("folder", pictures)["train"]
    (kept,) = own.CACHE.iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 16
    kept.write_bytes(content if damage is None else damage)
    assert torch.equal(load("folder", pictures)["train"].images, first.images)


def test_a_terminal_is_shown_how_far_the_reading_is(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load("folder", pictures, 30)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    load("folder", pictures, 31)
    assert "60/60" in capsys.readouterr().err


# What is refused


def no_folder(folder: Path) -> str:
    folder.rename("elsewhere")
    return "no folder my pictures"


def one_class(folder: Path) -> str:
    for name in list(COLOURS)[1:]:
        (folder / name).rename(name)
    return "my pictures holds only the folder blue; expected a folder of pictures for each class"


def pictures_alone(folder: Path) -> str:
    for path in folder.rglob("*.png"):
        path.rename(folder / f"{path.parent.name}{path.name}")
    for name in COLOURS:
        (folder / name).rmdir()
    return "my pictures holds no folders"


def an_empty_class(folder: Path) -> str:
    (folder / "empty").mkdir()
    return f"{folder / 'empty'} holds no pictures"


def too_few(folder: Path) -> str:
    for path in list(folder.rglob("*.png")):
        if int(path.stem) > 1:
            path.unlink()
    return "at least 10 are needed"


def a_strange_class(folder: Path) -> str:
    folder.rename("train")
    folder.mkdir()
    Path("train").rename(folder / "train")
    make(folder / "test")
    draw(folder / "test" / "yellow" / "1.png", (9, 9, 9))
    return f"{folder / 'test' / 'yellow'}: no class of this name"


def unreadable(folder: Path) -> str:
    for i in range(5):
        (folder / "blue" / f"{i}.png").write_bytes(b"no picture")
    return f"{folder / 'blue' / '0.png'} could not be read (not a picture)"


def of_an_iphone(folder: Path) -> str:
    (folder / "blue" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    return "IMG_1.HEIC is a HEIC photo; pip install pillow-heif to open it, or save it as JPEG"


REFUSED = [
    no_folder, one_class, pictures_alone, an_empty_class, too_few, a_strange_class, unreadable,
    of_an_iphone,
]  # fmt: skip


@pytest.mark.fault("a folder of pictures that cannot be used", kind="data")
@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(
    spoil: Callable[[Path], str],
    side: str,
    pictures: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    problem = spoil(pictures)
    options = ["--dataset", "folder", "--data_dir", pictures, "--accelerator", "cpu"]
    done = command(side, "train", *options)
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "--data_dir: ", problem)
    fault.sees(done.err)


# On both sides


def test_both_sides_train_on_a_folder_to_the_same_weights_and_answer_with_its_names(
    pictures: Path, command: Callable[..., Outcome]
) -> None:
    options = ["--dataset", "folder", "--image_size", 20, "--accelerator", "cpu"]
    said = {}
    for side in ("raw_pytorch", "lightning"):
        given = [*options, "--data_dir", pictures, "--run_dir", side]
        assert command(side, "train", *given, "--batch_size", 8).status == 0
        tested = command(side, "test", *given)
        assert "test          accuracy 100.00%" in tested.out, tested
        assert command(side, "predict", *given).status == 0
        # Without the folder, too: a checkpoint remembers the names.
        answered = command(
            side, "predict", *options, "--run_dir", side, "--images", pictures / "綠" / "1.png"
        )
        assert answered.err == ""
        table = Path(side, "predictions.csv").read_text(encoding="utf-8")
        weights = json.loads(Path(side, "summary.json").read_text())["weights_sha256"]
        said[side] = [answered.out, table, weights]
    assert said["raw_pytorch"] == said["lightning"]
    assert answered.out.startswith("綠")
    assert table.splitlines()[1].startswith("0,blue,blue,")


def test_a_checkpoint_of_other_classes_is_refused(
    side: str, pictures: Path, command: Callable[..., Outcome], one_line: Callable[..., None]
) -> None:
    options = ["--dataset", "folder", "--data_dir", pictures, "--accelerator", "cpu"]
    options += ["--run_dir", "run"]
    assert command(side, "train", *options, "--max_epochs", 1).status == 0
    (pictures / "blue").rename(pictures / "azure")
    done = command(side, "test", *options)
    assert done.status == 2
    one_line(done.err, "--data_dir: my pictures has the classes ['azure'", "trained with ['blue'")
