"""A person's own pictures, made to look like those of a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from shared.config import RunError
from shared.data import DATASETS, ImageDataset, collate

# The longer side of what is drawn, in pixels of the final 28×28 picture. MNIST fits its digits into
# 20 pixels and centres them by mass (LeCun et al., 1998); those of scikit-learn fill the picture
# from top to bottom; Fashion-MNIST's clothes too.
BOX = {"digits": 28, "mnist": 20, "fashion-mnist": 28}

# A photograph of 100 megapixels is the largest that is read: a small file may claim far more.
MAX_PIXELS = 100_000_000


def make_loader(dataset: str, files: Sequence[str], batch_size: int) -> DataLoader:
    """The pictures in `files` as batches of a loader, with labels of 0 that nobody looks at.

    Raises:
        RunError: a file is missing, or not a picture. All of them are named.
    """
    pictures, problems = [], []
    for file in files:
        try:
            pictures.append(torch.from_numpy(prepare(dataset, open_picture(file))))
        except RunError as error:
            problems.append(str(error))
    if problems:
        raise RunError("; ".join(problems))
    info = DATASETS[dataset]
    images = torch.stack(pictures).unsqueeze(1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    data = ImageDataset(images, labels, info.mean, info.std)
    return DataLoader(data, batch_size=batch_size, collate_fn=collate)


def open_picture(file: str) -> Image.Image:
    """Read a picture of any size and kind as grey values, transparent parts on white.

    Raises:
        RunError: there is no such file, it is too large, or Pillow cannot read it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise RunError(
                        f"--images: {file} has more than 100 megapixels; make it smaller"
                    )
                picture = ImageOps.exif_transpose(picture)
                if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
                    return _stretch(np.asarray(picture, dtype=np.float64))
                rgba = picture.convert("RGBA")
    except FileNotFoundError:
        raise RunError(f"--images: no file {file}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise RunError(f"--images: {file} could not be read ({reason})") from None
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("L")


def _stretch(values: np.ndarray) -> Image.Image:
    """Grey values of any range as 8 bits: convert("L") would cut off 16 bits at 255."""
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(scaled.astype(np.uint8))


def prepare(dataset: str, picture: Image.Image) -> np.ndarray:
    """Cut out what is drawn, make it light on dark, and fit and centre it as the dataset does.

    Args:
        picture: mode "L", any size.

    Returns:
        uint8 [28, 28].
    """
    # Nothing below needs more than a few hundred pixels, and a photograph has millions.
    picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, dtype=np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > 127:
        pixels = 255 - pixels
        border = 255 - border
    # Paper is not quite white: what is no brighter than the border counts as background.
    pixels = np.clip(pixels - np.median(border), 0, None)
    if pixels.max() == 0:
        return np.zeros((28, 28), dtype=np.uint8)
    pixels *= 255 / pixels.max()
    ink = pixels > 64
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    box = BOX[dataset]
    scale = box / max(cut.shape)
    size = [max(1, round(side * scale)) for side in cut.shape]
    drawn = Image.fromarray(cut.astype(np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    canvas = Image.new("L", (28, 28))
    canvas.paste(drawn, ((28 - size[1]) // 2, (28 - size[0]) // 2))
    if dataset == "mnist":
        values = np.asarray(canvas, dtype=np.float64)
        total = values.sum()
        offset_y = 13.5 - (values.sum(axis=1) @ np.arange(28)) / total
        offset_x = 13.5 - (values.sum(axis=0) @ np.arange(28)) / total
        return np.roll(values, (round(offset_y), round(offset_x)), axis=(0, 1)).astype(np.uint8)
    if dataset == "digits":
        # These digits were scanned at 8×8 pixels and enlarged: see shared/data.py.
        canvas = canvas.resize((8, 8), Image.Resampling.BOX)
        small = torch.from_numpy(np.array(canvas)).float()[None, None]
        large = torch.nn.functional.interpolate(
            small, size=28, mode="bilinear", align_corners=False
        )
        return large[0, 0].round().to(torch.uint8).numpy()
    return np.asarray(canvas)
