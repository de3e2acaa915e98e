"""What is drawn, fitted into 28×28 pixels as the pictures of a dataset were made."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter

from shared.pictures.ink import find

# The longer side of what is drawn, in pixels of the final 28×28 picture. MNIST fits its digits into
# 20 pixels and centres them by mass (LeCun et al., 1998); those of scikit-learn fill the picture
# from top to bottom, and those of Fashion-MNIST
# and KMNIST's characters do, too; EMNIST leaves two pixels on each side (Cohen et al., 2017).
BOX = {
    "digits": 28, "mnist": 20, "qmnist": 20, "fashion-mnist": 28, "kmnist": 28,
    "emnist-balanced": 24, "emnist-letters": 24,
}  # fmt: skip

# The width of the thinnest strokes, in the same pixels: what 95 of 100 training images exceed, by
# `_stroke_width`. Drawn with a thin pen, digits are recognised no better than by chance without it.
STROKE = {
    "digits": 2.9, "mnist": 1.3, "qmnist": 1.3, "fashion-mnist": 0, "kmnist": 0,
    "emnist-balanced": 1.6, "emnist-letters": 1.6,
}  # fmt: skip


def prepare(dataset: str, picture: Image.Image) -> list[np.ndarray]:
    """Cut out what is drawn, make it light on dark, and fit and centre it as the dataset does.

    Args:
        picture: mode "L", any size.

    Returns:
        uint8 [28, 28] for each digit or character, from left to right; none where nothing is drawn.
        Clothes fill the picture, and are one.
    """
    # Nothing below needs more than a few hundred pixels, and a photograph has millions.
    small = picture.copy()
    small.thumbnail((400, 400), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float32)
    if dataset == "fashion-mnist":
        drawn = _cut_out(_light_on_dark(pixels))
        return [] if drawn is None else [_fit_in(drawn, dataset)]
    return [_fit_in(drawn, dataset) for drawn in find(pixels)]


def _fit_in(drawn: np.ndarray, dataset: str) -> np.ndarray:
    drawn = _fit(_thicken(drawn, dataset), BOX[dataset])
    height, width = drawn.shape
    top, left = (28 - height) // 2, (28 - width) // 2
    if dataset in ("digits", "mnist", "qmnist"):
        left = _centred(drawn.sum(axis=0))
    if dataset in ("mnist", "qmnist"):
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
