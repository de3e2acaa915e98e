"""Files of pictures: read, whatever a camera or a program has made of them, and made square."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from shared.errors import RunError

# What Pillow may take a file for. It knows others, of which one starts Ghostscript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
HEIC_SUFFIXES = (".heic", ".heif", ".avif")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm",
    *HEIC_SUFFIXES,
)  # fmt: skip

# A photograph of 100 megapixels is the largest that is read: a small file may claim far more.
MAX_PIXELS = 100_000_000


def open_picture(path: str | Path, at_least: int | None = None) -> Image.Image:
    """Read a picture of any size and kind, the way up it is to be seen.

    Args:
        at_least: sides that suffice; a large JPEG is read faster in half, a quarter or an eighth
            of its size.

    Raises:
        RunError: there is no such file, it is too large, or it cannot be read; the message begins
            with its name.
    """
    if not Path(path).is_file():  # a pipe could be waited for without end
        raise RunError(f"{path} is not a file" if Path(path).exists() else f"no file {path}")
    too_large = RunError(f"{path} has more than 100 megapixels; make it smaller")
    formats: tuple[str, ...] = FORMATS
    if _is_heic(path):
        if importlib.util.find_spec("pillow_heif") is None:
            raise RunError(
                f"{path} is a HEIC photo; pip install pillow-heif to open it, or save it as JPEG"
            )
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats = ("HEIF",)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise too_large
                if at_least is not None and picture.mode in ("L", "RGB"):
                    picture.draft(picture.mode, (2 * at_least, 2 * at_least))
                upright = ImageOps.exif_transpose(picture)
                upright.load()
                return upright
    except RunError:
        raise
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a damaged file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not a picture"
        raise RunError(f"{path} could not be read ({reason})") from None


def _is_heic(path: str | Path) -> bool:
    """Whether it is what an iPhone saves, whatever its name: the kinds of MPEG's picture files."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start[4:8] == b"ftyp" and start[8:12] in (
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif",
    )  # fmt: skip


def grey(picture: Image.Image) -> Image.Image:
    """Its shades, mode "L"; transparent parts on white, or on black what is drawn in white."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # Any range as 8 bits: convert("L") would cut off 16 bits at 255.
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        span = values.max() - values.min()
        return Image.fromarray(((values - values.min()) * (255 / (span or 1))).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("L")
    rgba = picture.convert("RGBA")
    for paper in ("white", "black"):
        flat = Image.alpha_composite(Image.new("RGBA", rgba.size, paper), rgba).convert("L")
        if len(set(flat.getextrema())) == 2:  # the darkest and the lightest grey differ
            break
    return flat


def square(picture: Image.Image, size: int) -> np.ndarray:
    """The whole picture in its own proportions, between black bars where it is not square.

    Returns:
        uint8 [size, size, 3].
    """
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif picture.mode.startswith("I") or picture.mode == "F":
        picture = grey(picture)
    colours = picture.convert("RGB")
    return np.asarray(ImageOps.pad(colours, (size, size), method=Image.Resampling.BILINEAR))
