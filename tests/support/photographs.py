"""Photographs of digits on paper, drawn by this program: with shadows, on a table, of two digits,
and of paper with nothing on it. Each answer is known, since the digits are those of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

SIDE = 480


def written(
    digits: Sequence[np.ndarray], rng: np.random.Generator, height: int = 200
) -> np.ndarray:
    """The strength of the ink, 0 to 1: digits uint8 [28, 28] beside each other, not far from the
    middle of a sheet."""
    sheet = np.zeros((SIDE, SIDE))
    left = (SIDE - height * len(digits)) // 2
    for place, digit in enumerate(digits):
        large = Image.fromarray(digit).resize((height, height), Image.Resampling.BICUBIC)
        sharp = np.clip((np.asarray(large) / 255 - 0.35) * 4, 0, 1)
        top, shift = (SIDE - height) // 2 + rng.integers(-40, 40), rng.integers(-8, 8)
        x = left + place * height + shift
        area = sheet[top : top + height, x : x + height]
        np.maximum(area, sharp, out=area)
    return sheet


def photograph(
    ink: np.ndarray, light: np.ndarray | float, rng: np.random.Generator, paper: float = 225
) -> Image.Image:
    """Ink of a dark grey on paper under a light, with a camera's blur and grain."""
    shades = paper * (1 - 0.78 * ink) * light
    picture = Image.fromarray(shades.clip(0, 255).astype(np.uint8))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.2)), dtype=float)
    return Image.fromarray((soft + rng.normal(0, 3, soft.shape)).clip(0, 255).astype(np.uint8))


def shadow(depth: float, rng: np.random.Generator) -> np.ndarray:
    """Over one side of the sheet, at any angle, with an edge some pixels wide."""
    y, x = np.indices((SIDE, SIDE)) / SIDE - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.15, 0.15)
    return 1 - depth / (1 + np.exp(-along * rng.uniform(30, 90)))


def vignette(rng: np.random.Generator) -> np.ndarray:
    """Dark towards the corners: a fifth of the light is left there."""
    y, x = np.indices((SIDE, SIDE)) / SIDE - 0.5
    away = np.hypot(x - rng.uniform(-0.1, 0.1), y - rng.uniform(-0.1, 0.1))
    return np.clip(1.1 - 1.5 * away**1.5 * 1.1, 0.2, 1)


def on_a_table(ink: np.ndarray, rng: np.random.Generator, table: float = 45) -> Image.Image:
    """The sheet, turned a little and smaller, on dark wood."""
    paper = Image.fromarray((225 * (1 - 0.78 * ink)).astype(np.uint8))
    size = int(SIDE * rng.uniform(0.68, 0.85))
    wood = table + 12 * np.sin(np.arange(SIDE) / rng.uniform(3, 9))[:, None] + np.zeros((1, SIDE))
    whole = Image.fromarray(wood.clip(0, 255).astype(np.uint8))
    small, mask = paper.resize((size, size)), Image.new("L", (size, size), 255)
    angle = float(rng.uniform(-12, 12))
    turned = small.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
    mask = mask.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
    spare = SIDE - turned.width
    place = tuple(int(spare // 2 + rng.integers(-15, 15)) for _ in range(2))
    whole.paste(turned, place, mask)
    soft = np.asarray(whole.filter(ImageFilter.GaussianBlur(1.2)), dtype=float)
    return Image.fromarray((soft + rng.normal(0, 3, soft.shape)).clip(0, 255).astype(np.uint8))


ONE: dict[str, Callable[[np.ndarray, np.random.Generator], Image.Image]] = {
    "even light": lambda ink, rng: photograph(ink, 1.0, rng),
    "a shadow of 35 %": lambda ink, rng: photograph(ink, shadow(0.35, rng), rng),
    "a shadow of 45 %": lambda ink, rng: photograph(ink, shadow(0.45, rng), rng),
    "a strong vignette": lambda ink, rng: photograph(ink, vignette(rng), rng),
    "a dark table": on_a_table,
}
