"""Finding what is drawn on a photograph: the paper, the ink on it, and what belongs together.

Light falls on paper unevenly, shadows lie across it, and a table may show around it. What is left
when every thin dark line is filled with the shade of what is around it (a morphological closing) is
the paper as it is lit; the ink is what is darker than that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

Pixels = np.ndarray  # float32 [H, W]

# Strokes are thinner than this part of the shorter side of the picture.
THICKEST = 0.28
# Ink differs from its paper by at least this part of the paper's shade...
CONTRAST = 0.12
# ...and by so many times as much as the paper's own grain does.
ABOVE_NOISE = 4.0
# A part is dirt if it is smaller than this part of the largest, or of the shorter side.
DIRT, SMALLEST = 0.2, 0.045


class Box(NamedTuple):
    top: int
    left: int
    bottom: int  # the first row below
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def size(self) -> int:
        return max(self.height, self.width)


def find(pixels: Pixels) -> list[Pixels]:
    """Each thing that is drawn, from left to right, cut out.

    Args:
        pixels: shades from 0 to 255 of a picture of a few hundred pixels.

    Returns:
        For each, its strength from 0 (paper) to 255; an empty list where nothing is drawn.
    """
    strength, parts, boxes = _find_ink(_inside_paper(pixels))
    found = []
    for group in _group(boxes):
        cut = _around(boxes, group)
        rows, columns = slice(cut.top, cut.bottom), slice(cut.left, cut.right)
        mine = np.isin(parts[rows, columns], [number + 1 for number in group])
        # The soft edge of a stroke is weaker than what counts as ink.
        soft = ndimage.binary_dilation(mine, iterations=2)
        strokes = np.where(soft, strength[rows, columns], 0)
        strongest = np.percentile(strokes[mine], 90)
        found.append(np.clip(strokes * (255 / strongest), 0, 255).astype(np.float32))
    return found


def _find_ink(pixels: Pixels) -> tuple[Pixels, np.ndarray, list[Box]]:
    """The strength of the ink, its connected parts as numbers from 1, and the box of each part."""
    kinds = [_parts(_darker(pixels)), _parts(_darker(255 - pixels))]
    # Both what is dark and what is light may be enclosed by the other, as the inside of a 0 is: the
    # ink is what encloses.
    dark, light = ((_around(boxes, range(len(boxes))) if boxes else None) for *_, boxes in kinds)
    if dark is None or light is None:
        return kinds[0] if light is None else kinds[1]
    return kinds[0] if dark.height * dark.width >= light.height * light.width else kinds[1]


def _darker(pixels: Pixels) -> Pixels:
    """How much darker each pixel is than the paper around it, as a part of the paper's shade."""
    side = max(3, round(THICKEST * min(pixels.shape)) | 1)
    # Repeated outwards, so that a margin between ink and edge counts as paper, however narrow.
    padded = np.pad(pixels, side, mode="edge")
    smooth = ndimage.gaussian_filter(padded, sigma=min(pixels.shape) / 400)
    paper = ndimage.grey_closing(smooth, size=(side, side))
    # A closing finds the lightest grain of the paper; what is usual there is a little darker.
    inside = (slice(side, -side), slice(side, -side))
    missing, paper = (paper - smooth)[inside], paper[inside]
    # Below a shade of 60, the grain of a camera is no longer a part of the shade.
    return missing / np.maximum(paper, 60)


def _parts(strength: Pixels) -> tuple[Pixels, np.ndarray, list[Box]]:
    grain = float(np.median(strength))
    strength = np.clip(strength - grain, 0, None)
    strongest = float(np.percentile(strength, 99.7)) if strength.size > 2000 else strength.max()
    none = (strength, np.zeros(strength.shape, dtype=int), [])
    if strongest < max(CONTRAST, ABOVE_NOISE * grain):
        return none
    ink = strength > 0.4 * strongest
    parts, count = ndimage.label(ink, structure=np.ones((3, 3)))
    slices = ndimage.find_objects(parts)
    boxes = [Box(r.start, c.start, r.stop, c.stop) for r, c in slices]
    boxes = [
        box if _is_drawn(box, parts == i + 1, strength.shape) else None
        for i, box in enumerate(boxes)
    ]
    largest = max((box.size for box in boxes if box), default=0)
    kept = [i for i, box in enumerate(boxes) if box and box.size >= DIRT * largest]
    numbers = np.zeros(count + 1, dtype=int)
    for new, old in enumerate(kept):
        numbers[old + 1] = new + 1
    return strength, numbers[parts], [boxes[i] for i in kept]


def _is_drawn(box: Box, ink: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a part may be a stroke: not a speck, and not the edge of a table or of a shadow,
    which runs along or across the whole picture and is thin for its length."""
    height, width = shape
    if box.size < SMALLEST * min(shape) and min(shape) > 40:
        return False
    at_edges = (box.top == 0) + (box.left == 0) + (box.bottom == height) + (box.right == width)
    spans = box.height >= 0.9 * height or box.width >= 0.9 * width
    return not (at_edges >= 2 and spans and min(shape) > 40)


def _group(boxes: list[Box]) -> list[list[int]]:
    """Which parts make one digit, from left to right: a small part, like the bar of a 5, belongs to
    the large one that it is nearest to; large parts stand for themselves."""
    if not boxes:
        return []
    tallest = max(box.size for box in boxes)
    groups: list[list[int]] = []
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i].size):
        gaps = [_gap(boxes[i], _around(boxes, group)) for group in groups]
        near = min(range(len(groups)), key=gaps.__getitem__, default=None)
        if boxes[i].size >= 0.6 * tallest and not (near is not None and gaps[near] < 0):
            groups.append([i])
        elif near is not None and gaps[near] < 0.25 * tallest:
            groups[near].append(i)
    return sorted(groups, key=lambda group: _around(boxes, group).left)


def _gap(one: Box, other: Box) -> int:
    """Pixels between two boxes; below 0, how far one reaches into the other."""
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    if across < 0 and down < 0:
        inside = min(-across / min(one.width, other.width), -down / min(one.height, other.height))
        # Slanted neighbours reach over each other a little, and parts of one digit a good deal.
        return -1 if inside > 0.5 else 0
    return max(across, down)


def _around(boxes: list[Box], group: list[int] | range) -> Box:
    tops, lefts, bottoms, rights = zip(*(boxes[i] for i in group), strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def _inside_paper(pixels: Pixels) -> Pixels:
    """The part of the picture within the edges of the sheet, where a darker table shows around a
    light one; else the picture as it is.

    A sheet is a light area, four-cornered and nearly whole, with the table along most of the edge.
    """
    if min(pixels.shape) < 40:
        return pixels
    smooth = ndimage.median_filter(pixels, size=5)
    light = smooth > _otsu(smooth)
    parts, count = ndimage.label(light)
    if count == 0:
        return pixels
    sizes = np.bincount(parts.ravel())[1:]
    sheet = ndimage.binary_fill_holes(parts == 1 + int(sizes.argmax()))
    rim = np.concatenate([sheet[0], sheet[-1], sheet[1:-1, 0], sheet[1:-1, -1]])
    table, paper = smooth[~sheet], smooth[sheet]
    if rim.mean() > 0.5 or sheet.mean() < 0.15 or table.size == 0:
        return pixels
    whole = (light & sheet).sum() / sheet.sum()
    is_darker = np.median(table) < 0.6 * np.median(paper)
    if whole < 0.7 or not is_darker or _squareness(sheet) < 0.87:
        return pixels
    # The table takes the shade of the paper next to it, and the edge of the sheet with it.
    margin = max(3, round(0.02 * min(pixels.shape)))
    inner = ndimage.binary_erosion(sheet, iterations=margin, border_value=1)
    if not inner.any():
        return pixels
    filled = ~ndimage.binary_fill_holes(inner)
    nearest = ndimage.distance_transform_edt(filled, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def _squareness(area: np.ndarray) -> float:
    """The part that an area fills of the smallest rectangle around it, at whatever angle."""
    y, x = np.nonzero(area)
    best = np.inf
    for angle in np.radians(np.arange(0, 90, 3)):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        best = min(best, (np.ptp(along) + 1) * (np.ptp(across) + 1))
    return len(x) / best


def _otsu(pixels: Pixels) -> float:
    """The shade that parts light from dark with the least spread on both sides (Otsu, 1979)."""
    counts, edges = np.histogram(pixels, bins=64)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.sum(counts * centres) - np.cumsum(counts * centres)) / np.maximum(above, 1)
    return float(edges[1:][np.argmax(below * above * (mean_below - mean_above) ** 2)])
