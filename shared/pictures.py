"""A person's own pictures, made to look like those of a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader

from shared.data import DATASETS, ImageDataset, collate
from shared.errors import RunError

# The longer side of what is drawn, in pixels of the final 28×28 picture. MNIST fits its digits into
# 20 pixels and centres them by mass (LeCun et al., 1998); those of scikit-learn fill the picture
# from top to bottom; Fashion-MNIST's clothes too.
BOX = {"digits": 28, "mnist": 20, "fashion-mnist": 28}

# The width of the thinnest strokes, in the same pixels: what 95 of 100 training images exceed, by
# `_stroke_width`. Drawn with a thin pen, digits are recognised no better than by chance without it.
STROKE = {"digits": 2.9, "mnist": 1.3, "fashion-mnist": 0}

# What Pillow may take a file for. It knows others, of which one starts Ghostscript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

# A photograph of 100 megapixels is the largest that is read: a small file may claim far more.
MAX_PIXELS = 100_000_000


def make_loader(
    dataset: str, files: Sequence[str], batch_size: int
) -> tuple[DataLoader, list[str], list[str]]:
    """The pictures in `files` as batches of a loader, with labels of 0 that nobody looks at.

    Returns:
        The loader; the files whose pictures it has, in its order; and a line on each of the others.

    Raises:
        RunError: none of the files is a picture.
    """
    pictures, read, problems = [], [], []
    for file in files:
        try:
            picture = prepare(dataset, open_picture(file))
            if not picture.any():
                raise RunError(f"--images: {file} is of one shade all over; nothing is drawn on it")
            pictures.append(torch.from_numpy(picture))
            read.append(file)
        except RunError as error:
            problems.append(str(error))
    if not pictures:
        raise RunError("; ".join(problems))
    info = DATASETS[dataset]
    images = torch.stack(pictures).unsqueeze(1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    data = ImageDataset(images, labels, info.mean, info.std)
    return DataLoader(data, batch_size=batch_size, collate_fn=collate), read, problems


def open_picture(file: str) -> Image.Image:
    """Read a picture of any size and kind as grey values, transparent parts on white.

    Raises:
        RunError: there is no such file, it is too large, or Pillow cannot read it.
    """
    if not Path(file).is_file():  # a pipe could be waited for without end
        what = f"{file} is not a file" if Path(file).exists() else f"no file {file}"
        raise RunError(f"--images: {what}")
    too_large = RunError(f"--images: {file} has more than 100 megapixels; make it smaller")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise too_large
                return _grey(ImageOps.exif_transpose(picture))
    except RunError:
        raise
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a damaged file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not a picture"
        raise RunError(f"--images: {file} could not be read ({reason})") from None


def _grey(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # Any range as 8 bits: convert("L") would cut off 16 bits at 255.
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        span = values.max() - values.min()
        return Image.fromarray(((values - values.min()) * (255 / (span or 1))).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("L")
    rgba = picture.convert("RGBA")
    for paper in ("white", "black"):  # black for what is drawn in white on nothing
        grey = Image.alpha_composite(Image.new("RGBA", rgba.size, paper), rgba).convert("L")
        if len(set(grey.getextrema())) == 2:  # the darkest and the lightest grey differ
            break
    return grey


def prepare(dataset: str, picture: Image.Image) -> np.ndarray:
    """Cut out what is drawn, make it light on dark, and fit and centre it as the dataset does.

    Args:
        picture: mode "L", any size.

    Returns:
        uint8 [28, 28], all zero where nothing is drawn.
    """
    # Nothing below needs more than a few hundred pixels, and a photograph has millions.
    small = picture.copy()
    small.thumbnail((512, 512), Image.Resampling.LANCZOS)
    drawn = _cut_out(_light_on_dark(np.asarray(small, dtype=np.float32)))
    if drawn is None:
        return np.zeros((28, 28), dtype=np.uint8)
    drawn = _fit(_thicken(drawn, dataset), BOX[dataset])

    height, width = drawn.shape
    top, left = (28 - height) // 2, (28 - width) // 2
    if dataset != "fashion-mnist":
        left = _centred(drawn.sum(axis=0))
    if dataset == "mnist":
        top = _centred(drawn.sum(axis=1))
    canvas = np.zeros((28, 28), dtype=np.float32)
    canvas[top : top + height, left : left + width] = drawn
    canvas *= 255 / canvas.max()
    if dataset == "digits":
        # These digits were scanned at 8×8 pixels and enlarged: see shared/data/datasets.py.
        tiny = Image.fromarray(canvas).resize((8, 8), Image.Resampling.BOX)
        canvas = torch.nn.functional.interpolate(
            torch.from_numpy(np.array(tiny))[None, None],
            size=28,
            mode="bilinear",
            align_corners=False,
        )[0, 0].numpy()
    return canvas.round().astype(np.uint8)


def _light_on_dark(pixels: np.ndarray) -> np.ndarray:
    """What is drawn as 255 at its strongest, on paper of 0, whichever of them was the lighter."""
    border = np.ones(pixels.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    paper = np.median(pixels[border])
    if paper - pixels.min() > pixels.max() - paper:
        pixels, paper = 255 - pixels, 255 - paper
    # Light falls on a photograph unevenly: a plane through those pixels of the border that are
    # nearer to the paper than to the ink.
    border &= np.abs(pixels - paper) <= (pixels.max() - paper) / 2
    y, x = np.indices(pixels.shape, dtype=np.float32)
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    plane = np.linalg.lstsq(terms[border], pixels[border], rcond=None)[0]
    pixels = np.clip(pixels - terms @ plane, 0, None)
    # Less than one step of 256 is rounding.
    return pixels * (255 / pixels.max()) if pixels.max() >= 1 else np.zeros_like(pixels)


def _cut_out(pixels: np.ndarray) -> np.ndarray | None:
    ink = pixels > 64
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else None


def _fit(pixels: np.ndarray, longer: int) -> np.ndarray:
    scale = longer / max(pixels.shape)
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((width, height), method))


def _thicken(drawn: np.ndarray, dataset: str) -> np.ndarray:
    """Thin strokes as wide as those of the dataset, worked out at four times the final size."""
    drawn = _fit(drawn, 4 * BOX[dataset])
    wanted = 4 * STROKE[dataset]
    picture = Image.fromarray(np.pad(drawn * (255 / drawn.max()), 8).astype(np.uint8))
    for _ in range(8):
        if _stroke_width(np.asarray(picture)) >= wanted:
            break
        picture = picture.filter(ImageFilter.MaxFilter(3))
    thick = _cut_out(np.asarray(picture, dtype=np.float32))
    return drawn if thick is None else thick


def _stroke_width(pixels: np.ndarray) -> float:
    """Twice the area over the length of the outline: the width of a long line."""
    ink = np.pad(pixels > 127, 1)
    outline = (ink[1:] != ink[:-1]).sum() + (ink[:, 1:] != ink[:, :-1]).sum()
    return 2 * ink.sum() / max(outline, 1)


def _centred(mass: np.ndarray) -> int:
    """Where a part with this mass begins in 28 pixels to have its centre of mass in the middle, or
    as near to it as the part fits."""
    centre = mass @ np.arange(len(mass)) / mass.sum()
    return int(np.clip(round(13.5 - centre), 0, 28 - len(mass)))
