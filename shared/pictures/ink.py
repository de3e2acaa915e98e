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
# Parts of one digit are less than this part of its size apart.
NEAR = 0.25
# A few pixels outside of a stroke, less than this part of the strength at its edge is left.
SOFT = 0.6
# With fewer pixels on a side, a picture is a drawing of an icon's size: any pixel of it may count.
SMALL = 60


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
        cut = _around([boxes[i] for i in group])
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
    pixels = ndimage.gaussian_filter(pixels, sigma=min(pixels.shape) / 300)  # without the grain
    paper = _paper(pixels)
    # Below a shade of 60, the grain of a camera is no longer a part of the shade.
    dark = _parts((paper - pixels) / np.maximum(paper, 60))
    board = 255 - _paper(255 - pixels)
    light = _parts((pixels - board) / np.maximum(255 - board, 60))
    if not dark[2] or not light[2]:
        return light if light[2] else dark
    # Enclosed by ink, or between ink and a shadow, paper looks like chalk; but there is more of it.
    as_light = pixels >= 0.9 * np.median(pixels[light[1] > 0])
    if (as_light & (light[1] == 0)).sum() > 2 * (light[1] > 0).sum():
        return dark
    by_dark = np.percentile(((paper - pixels) / np.maximum(paper, 60))[dark[1] > 0], 90)
    by_light = np.percentile(((pixels - board) / np.maximum(pixels, 60))[light[1] > 0], 90)
    if by_dark > 1.15 * by_light:
        return dark
    if by_light > 1.15 * by_dark:
        return light
    # The inside of a 0 differs from its ink as the paper does: the ink is what encloses.
    sizes = [box.height * box.width for box in (_around(kind[2]) for kind in (dark, light))]
    return dark if sizes[0] >= sizes[1] else light


def _paper(pixels: Pixels) -> Pixels:
    """The shade of the paper at each pixel, with all that is dark and thin filled."""
    side = max(3, round(THICKEST * min(pixels.shape)) | 1)
    # Repeated outwards, so that a margin between ink and edge counts as paper, however narrow.
    padded = np.pad(pixels, side, mode="edge")
    return ndimage.grey_closing(padded, size=(side, side))[side:-side, side:-side]


def _parts(strength: Pixels) -> tuple[Pixels, np.ndarray, list[Box]]:
    """The strength above the paper's grain, its connected parts as numbers from 1, their boxes."""
    grain = float(np.median(strength))
    strength = np.clip(strength - grain, 0, None)
    strongest = float(np.percentile(strength, 99.7)) if strength.size > 2000 else strength.max()
    parts = np.zeros(strength.shape, dtype=int)
    if strongest < max(CONTRAST, ABOVE_NOISE * grain):
        return strength, parts, []
    found, _ = ndimage.label(strength > 0.4 * strongest, structure=np.ones((3, 3)))
    boxes = {
        number: Box(rows.start, columns.start, rows.stop, columns.stop)
        for number, (rows, columns) in enumerate(ndimage.find_objects(found), start=1)
    }
    if min(strength.shape) >= SMALL:
        boxes = {n: box for n, box in boxes.items() if _is_drawn(n, box, found, strength)}
    largest = max((box.size for box in boxes.values()), default=0)
    kept = [number for number, box in boxes.items() if box.size >= DIRT * largest]
    for new, number in enumerate(kept, start=1):
        parts[found == number] = new
    return strength, parts, [boxes[number] for number in kept]


def _is_drawn(number: int, box: Box, parts: np.ndarray, strength: Pixels) -> bool:
    """Whether a part may be a stroke: not a speck; not the edge of a table or of a shadow, which
    runs across the whole picture; and sharp around, as the middle of a pool of light is not."""
    height, width = strength.shape
    if box.size < SMALLEST * min(height, width):
        return False
    at_edges = (box.top == 0) + (box.left == 0) + (box.bottom == height) + (box.right == width)
    if at_edges >= 2 and (box.height >= 0.9 * height or box.width >= 0.9 * width):
        return False
    # What was enlarged from a few pixels is soft in proportion to its size.
    step = max(1, round(min(height, width) / 130), round(0.06 * box.size))
    margin = step + 2
    rows = slice(max(0, box.top - margin), box.bottom + margin)
    columns = slice(max(0, box.left - margin), box.right + margin)
    whole = ndimage.binary_fill_holes(parts[rows, columns] == number)
    inside = whole & ~ndimage.binary_erosion(whole, border_value=1)
    near = ndimage.binary_dilation(whole, iterations=step)
    outside = ndimage.binary_dilation(near, iterations=1) & ~near
    if not outside.any():
        return False
    # On every side: a strip between ink and a shadow has one sharp edge and one soft one.
    beyond = np.percentile(strength[rows, columns][outside], 80)
    return bool(beyond < SOFT * np.median(strength[rows, columns][inside]))


def _group(boxes: list[Box]) -> list[list[int]]:
    """Which parts make one digit, from left to right: what lies close above or below, or inside,
    and a small part close to a large one, like the bar of a 5. Large ones side by side are two."""
    tallest = max((box.size for box in boxes), default=0)
    groups: list[list[int]] = []
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i].size):
        box, near = boxes[i], None
        for group in groups:
            around = _around([boxes[j] for j in group])
            across = max(box.left, around.left) - min(box.right, around.right)
            down = max(box.top, around.top) - min(box.bottom, around.bottom)
            is_over = -across > 0.5 * min(box.width, around.width)
            if max(across, down) < NEAR * tallest and (is_over or box.size < 0.6 * tallest):
                near = group
                break
        if near is not None:
            near.append(i)
        elif box.size >= 0.6 * tallest:
            groups.append([i])
    return sorted(groups, key=lambda group: min(boxes[i].left for i in group))


def _around(boxes: list[Box]) -> Box:
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def _inside_paper(pixels: Pixels) -> Pixels:
    """The part of the picture within the edges of the sheet, where a darker table shows around a
    light one; else the picture as it is.

    A sheet is a light area, four-cornered and nearly whole, with the table along most of the edge.
    """
    if min(pixels.shape) < SMALL:
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
    # Where a corner of the picture is light, the rest may lie in a shadow, which is less dark.
    in_corner = sheet[:: len(sheet) - 1, :: sheet.shape[1] - 1].any()
    is_darker = np.median(table) < (0.45 if in_corner else 0.6) * np.median(paper)
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
