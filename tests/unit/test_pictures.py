"""A person's own pictures: what is made of them, and what is said of those that cannot be used."""

from __future__ import annotations

import importlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from support.fewer import few
from support.programs import Outcome, Run, short

from shared.config import Config
from shared.data import DATASETS, load
from shared.data.images import grey, open_picture
from shared.errors import RunError
from shared.files import SIDES
from shared.pictures import fit, make_loader

# Pictures of a folder are used whole, and nothing is looked for on them.
DRAWN = [name for name in DATASETS if name != "folder"]


def prepare(dataset: str, picture: Image.Image) -> np.ndarray:
    """The one thing that is drawn."""
    (made,) = fit.prepare(dataset, picture)
    return made


def on_paper(
    digit: np.ndarray,
    size: tuple[int, int] = (200, 300),
    height: int = 160,
    at: tuple[int, int] = (20, 70),
    paper: int = 255,
    ink: int = 0,
) -> Image.Image:
    """A picture of the dataset, enlarged, in `ink` on a page of `paper`."""
    large = Image.fromarray(digit).resize((height, height), Image.Resampling.BICUBIC)
    strength = Image.new("L", size)
    strength.paste(large, at)
    values = paper + (ink - paper) * np.asarray(strength, dtype=np.float64) / 255
    return Image.fromarray(values.round().astype(np.uint8))


@pytest.fixture(scope="module")
def seven() -> np.ndarray:
    """Drawn by hand: lopsided, so that turning or mirroring it is noticed."""
    picture = Image.new("L", (280, 280))
    ImageDraw.Draw(picture).line([(80, 50), (200, 60), (120, 240)], fill=255, width=24)
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX))


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of the shades, on average over what is drawn in either."""
    drawn = (ours > 0) | (theirs > 0)
    return float(np.abs(ours.astype(float) - theirs)[drawn].mean())


# Measured: a shift by half a pixel comes to 10 to 27, another digit to more than 60. What enlarges
# a picture of 28 pixels draws its edges half a pixel here or there.
ALIKE, ANOTHER = 25, 60


@pytest.mark.parametrize("dataset", DRAWN)
def test_two_different_digits_are_far_from_alike(dataset: str, seven: np.ndarray) -> None:
    ours, turned = (prepare(dataset, on_paper(digit)) for digit in (seven, seven[::-1].copy()))
    assert difference(ours, turned) > ANOTHER


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion-mnist"])
@pytest.mark.parametrize(
    "page",
    [
        dict(paper=0, ink=255),
        dict(paper=230, ink=90),
        dict(paper=110, ink=20),
        dict(paper=60, ink=150),
        dict(at=(0, 0)),
        dict(at=(40, 140)),
        dict(height=60),
        dict(size=(3000, 2000), height=1200, at=(1500, 200)),
        dict(size=(300, 200), height=190, at=(5, 5)),
    ],
    ids=str,
)
def test_shades_place_and_size_on_the_page_make_no_difference(
    dataset: str, page: dict, seven: np.ndarray
) -> None:
    expected = prepare(dataset, on_paper(seven))
    assert difference(prepare(dataset, on_paper(seven, **page)), expected) < ALIKE


@pytest.mark.parametrize("dataset", DRAWN)
def test_uneven_light_and_noise_make_little_difference(dataset: str, seven: np.ndarray) -> None:
    page = np.asarray(on_paper(seven, paper=220, ink=40), dtype=float)
    light = page * np.linspace(1, 0.7, page.shape[1]) * np.linspace(1, 0.9, page.shape[0])[:, None]
    noisy = light + np.random.default_rng(0).normal(0, 4, page.shape)
    photograph = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    assert difference(prepare(dataset, photograph), prepare(dataset, on_paper(seven))) < ALIKE


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_a_thin_pen_makes_no_thin_strokes(dataset: str) -> None:
    def line(width: int) -> np.ndarray:
        page = Image.new("L", (300, 300), "white")
        ImageDraw.Draw(page).line([(80, 50), (200, 60), (120, 240)], fill=0, width=width)
        return prepare(dataset, page).astype(float)

    assert line(1).sum() > 0.5 * line(16).sum()
    assert (line(1) > 127).any(axis=1).sum() >= (line(16) > 127).any(axis=1).sum() - 3


def test_mnist_is_fitted_into_20_pixels_and_centred_by_mass(seven: np.ndarray) -> None:
    made = prepare("mnist", on_paper(seven)).astype(float)
    rows, columns = np.flatnonzero(made.any(axis=1)), np.flatnonzero(made.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    for axis in (0, 1):
        mass = made.sum(axis=1 - axis)
        assert abs(mass @ np.arange(28) / mass.sum() - 13.5) <= 0.5


def test_a_digit_of_scikit_learn_fills_the_picture_from_top_to_bottom(seven: np.ndarray) -> None:
    made = prepare("digits", on_paper(seven))
    assert made[0].any()
    assert made[-1].any()


SIZES = [(5, 7), (1, 1), (2, 1), (1, 300), (4000, 1), (28, 28), (512, 512), (3000, 2000)]


@pytest.mark.parametrize("dataset", DRAWN)
@pytest.mark.parametrize(("width", "height"), few(SIZES, [(5, 7), (1, 300), (512, 512)]))
def test_a_picture_of_any_size_becomes_28_by_28(dataset: str, width: int, height: int) -> None:
    size = width, height
    picture = Image.new("L", size, 255)
    draw = ImageDraw.Draw(picture)
    middle = [(side * 2 // 5, side * 3 // 5) for side in size]
    draw.rectangle([middle[0][0], middle[1][0], middle[0][1], middle[1][1]], fill=0)
    before = picture.tobytes()
    for made in fit.prepare(dataset, picture):
        assert (made.shape, made.dtype) == ((28, 28), np.uint8)
    assert fit.prepare(dataset, picture) or min(size) < 28
    assert picture.tobytes() == before


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(DRAWN),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
)
def test_any_pixels_at_all_become_28_by_28(
    dataset: str, shape: tuple[int, int], seed: int, span: int
) -> None:
    pixels = np.random.default_rng(seed).integers(255 - span, 256, shape).astype(np.uint8)
    made = fit.prepare(dataset, Image.fromarray(pixels))
    assert all((one.shape, one.dtype) == ((28, 28), np.uint8) for one in made)
    assert all(one.max() > 64 for one in made)
    if pixels.min() == pixels.max():
        assert made == []


# Kinds of files


def save(picture: Image.Image, name: str, **options: object) -> str:
    picture.save(name, **options)
    return name


def as_rgba(grey: Image.Image, ink: str) -> Image.Image:
    """The drawing alone, on nothing."""
    rgba = Image.new("RGBA", grey.size, ink)
    rgba.putalpha(grey.point(lambda shade: 255 - shade))
    return rgba


def exif_turned(grey: Image.Image, name: str) -> str:
    exif = Image.Exif()
    exif[0x0112] = 6  # as a telephone held upright says: to be shown turned by 90°
    return save(grey.transpose(Image.Transpose.ROTATE_90), name, exif=exif, quality=95)


KINDS: Mapping[str, Callable[[Image.Image], str]] = {
    "grey": lambda g: save(g, "a.png"),
    "colour": lambda g: save(g.convert("RGB"), "a.png"),
    "black and white": lambda g: save(g.convert("1", dither=Image.Dither.NONE), "a.png"),
    "palette": lambda g: save(g.convert("RGB").quantize(16), "a.png"),
    "gif": lambda g: save(g, "a.gif"),
    "bmp": lambda g: save(g.convert("RGB"), "a.bmp"),
    "jpeg": lambda g: save(g, "a.jpg", quality=95),
    "cmyk jpeg": lambda g: save(g.convert("CMYK"), "a.jpg", quality=95),
    "black on nothing": lambda g: save(as_rgba(g, "black"), "a.png"),
    "white on nothing": lambda g: save(as_rgba(g, "white"), "a.png"),
    "grey on nothing": lambda g: save(as_rgba(g, "black").convert("LA"), "a.png"),
    "transparent palette": lambda g: save(as_rgba(g, "black").quantize(16), "a.png"),
    "16 bits": lambda g: save(Image.fromarray(np.asarray(g).astype(np.uint16) * 200 + 99), "a.png"),
    "32 bits": lambda g: save(Image.fromarray(np.asarray(g).astype(np.int32) * 9999), "a.tif"),
    "floats": lambda g: save(Image.fromarray(np.asarray(g).astype(np.float32) / 255), "a.tif"),
    "turned by its exif": lambda g: exif_turned(g, "a.jpg"),
    "animated": lambda g: save(g, "a.gif", save_all=True, append_images=[g.rotate(90), g]),
    "animated png": lambda g: save(g, "a.png", save_all=True, append_images=[g.rotate(90)]),
    "another name": lambda g: str(Path(save(g, "a.png")).rename("ä b.jpg")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_the_file_makes_no_difference(kind: str, seven: np.ndarray) -> None:
    page = on_paper(seven)
    made = prepare("mnist", grey(open_picture(KINDS[kind](page))))
    assert difference(made, prepare("mnist", page)) < ALIKE


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def blank(shade: object, mode: str = "L") -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (50, 60), shade).save(path, format="PNG")


def cut_short(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (99, 99)).astype(np.uint8)
    Image.fromarray(noise).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:2000])


BAD: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no file "),
    "empty": (lambda path: path.write_bytes(b""), "not a picture"),
    "text": (lambda path: path.write_text("a seven"), "not a picture"),
    "a folder": (lambda path: path.mkdir(), "is not a file"),
    "a pipe": (lambda path: os.mkfifo(path), "is not a file"),
    "a device without end": (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
    "a program for a printer": (
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
        "not a picture",
    ),
    "cut short": (cut_short, "could not be read"),
    "large claim": (lambda path: path.write_bytes(png_that_claims(10_001, 10_000)), "megapixels"),
    # Pillow 12 cannot read it, Pillow 13 finds it too large.
    "huge claim": (lambda path: path.write_bytes(png_that_claims(2**31 - 1, 2**31 - 1)), ""),
    "bomb": (lambda path: path.write_bytes(png_that_claims(60_000, 60_000)), "megapixels"),
    "no pixels": (lambda path: path.write_bytes(png_that_claims(0, 0)), "could not be read"),
    "white": (blank(255), "nothing is drawn on it"),
    "black": (blank(0), "nothing is drawn on it"),
    "transparent": (blank((0, 0, 0, 0), "RGBA"), "nothing is drawn on it"),
    "a photo of an iPhone": (
        lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(50)),
        "is a HEIC photo; pip install pillow-heif",
    ),
    "16 bits of grey": (blank(30000, "I;16"), "nothing is drawn on it"),
}


@pytest.mark.fault("a picture that cannot be used", kind="input")
@pytest.mark.parametrize("bad", BAD)
def test_a_picture_that_cannot_be_used_is_answered_in_one_line(
    bad: str,
    side: str,
    one_epoch: dict[str, Run],
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    make, problem = BAD[bad]
    make(Path("my picture.png"))
    done = command(
        side, "predict", "--run_dir", one_epoch[side].folder, "--images", "my picture.png"
    )
    assert (done.status, done.out) == (1, "")
    one_line(done.err, "--images: ", "my picture.png", problem)
    fault.sees(done.err)


@pytest.mark.fault("a picture that cannot be used", kind="input")
def test_good_pictures_are_answered_although_others_are_bad(
    side: str,
    one_epoch: dict[str, Run],
    seven: np.ndarray,
    command: Callable[..., Outcome],
) -> None:
    on_paper(seven).save("good 1.png")
    on_paper(seven, paper=0, ink=255).save("good 2.png")
    for number, (make, _) in enumerate(BAD.values()):
        make(Path(f"bad{number}"))
    bad = [f"bad{number}" for number in range(len(BAD))]
    files = ["good 1.png", *bad, "good 2.png"]
    done = command(side, "predict", "--run_dir", one_epoch[side].folder, "--images", *files)
    assert done.status == 1
    assert [line[11:] for line in done.out.splitlines()] == ["good 1.png", "good 2.png"]
    assert done.err.count("\n") == 1
    assert re.findall(r"bad\d+", done.err) == bad
    assert "good" not in done.err


def test_one_line_for_each_picture_in_the_order_they_were_given(
    side: str, one_epoch: dict[str, Run], seven: np.ndarray, command: Callable[..., Outcome]
) -> None:
    # More than a batch, one file twice.
    files = [f"{number}.png" for number in range(5)]
    for file in files:
        on_paper(seven).save(file)
    done = command(
        side, "predict", "--run_dir", one_epoch[side].folder, "--batch_size", 2,
        "--images", *files, files[0],
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert [line.split()[-1] for line in done.out.splitlines()] == [*files, files[0]]
    assert all(line.split()[0] in DATASETS["digits"].classes for line in done.out.splitlines())


# Are they recognised?


@pytest.mark.long
@pytest.mark.parametrize(
    "page",
    [dict(), dict(paper=0, ink=255), dict(paper=210, ink=60, height=90, at=(90, 20))],
    ids=["dark on light", "light on dark", "grey and small"],
)
def test_enlarged_test_pictures_are_recognised(page: dict, trained: Path) -> None:
    """By one side: the next test is that the other answers alike."""
    test = load("digits", "data")["test"]
    chosen = torch.cat([torch.nonzero(test.labels == digit)[:4, 0] for digit in range(10)])
    files = [f"{index}.png" for index in chosen.tolist()]
    for index, file in zip(chosen.tolist(), files, strict=True):
        on_paper(test.images[index, 0].numpy(), **page).save(file)
    predict = importlib.import_module("raw_pytorch.predict").predict
    probabilities = predict(short(run_dir=str(trained)), files)
    # As they are in the dataset, 99 of 100 are right, and enlarged 98; by chance it would be 10.
    assert int((probabilities.argmax(dim=1) == test.labels[chosen]).sum()) >= 38


@pytest.mark.long
def test_a_seven_drawn_by_hand_is_recognised(trained: Path, seven: np.ndarray) -> None:
    on_paper(seven).save("7.png")
    predict = importlib.import_module("raw_pytorch.predict").predict
    assert predict(short(run_dir=str(trained)), ["7.png"]).argmax() == 7


def test_both_sides_answer_alike_to_the_bit(one_epoch: dict[str, Run], seven: np.ndarray) -> None:
    on_paper(seven).save("7.png")
    config = short(run_dir=str(one_epoch["raw_pytorch"].folder))
    answers = [
        importlib.import_module(f"{side}.predict").predict(config, ["7.png"]) for side in SIDES
    ]
    assert torch.equal(*answers)


def test_without_any_picture_that_can_be_read_an_error_names_them_all() -> None:
    with pytest.raises(RunError, match=r"no file a\.png; --images: no file b\.png"):
        make_loader(Config(), ["a.png", "b.png"])
