"""One picture file -> 8-bit RGB or a float array: orientation, 16 bits, alpha, palettes and limits are settled here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from offnormal.errors import ImageError

SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
    }
    | {".pnm", ".gif", ".jp2", ".avif"}
)
_BACKDROP = (255, 255, 255)  # what a transparent picture is shown on by most viewers


def open_image(path: Path) -> Image.Image:
    """Open and fully decode one picture, turned upright by its EXIF orientation.

    Raises ImageError naming the file when it is missing, empty, truncated, of an unknown format, or larger
    than Pillow's limit against decompression bombs.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path}: {error}. If the file is genuine, crop or scale it down, or cut it into tiles"
        ) from None
    except UnidentifiedImageError:
        size = path.stat().st_size
        what = "the file is empty" if size == 0 else f"not a picture that can be read ({size} bytes)"
        raise ImageError(f"{path}: {what}; replace or remove it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: damaged or truncated picture ({error}); replace or remove it") from None


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of the upright picture, from its header alone; ImageError when the header cannot be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations with swapped axes
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: not a readable picture ({error}); replace or remove it") from None
    return (width, height) if turned else (height, width)


def is_deep(image: Image.Image) -> bool:
    """Whether the picture has more than 8 bits a channel."""
    return image.mode.startswith("I") or image.mode == "F"


def to_channels(image: Image.Image, channels: int, *, bits: int = 16) -> Image.Image:
    """The picture as 8-bit RGB or grey, or, when it is deeper, as grey 32-bit float in 0-1 (mode `F`).

    Transparent pixels are laid on white. 16-bit pictures are divided by 2**bits - 1, never clipped at 255;
    float pictures must already lie in 0-1. Raises ImageError for values outside.
    """
    if is_deep(image):
        values = np.asarray(image, dtype=np.float32)
        if image.mode != "F":
            values = values / np.float32(2**bits - 1)
        low, high = float(values.min()), float(values.max())
        limit = 1.0 if image.mode == "F" else (2**16 - 1) / (2**bits - 1)
        if not (low >= 0 and high <= limit):  # false for NaN too
            kind = "float picture" if image.mode == "F" else "32-bit picture"
            wanted = "0 to 1" if image.mode == "F" else "16-bit values"
            raise ImageError(f"{kind} with values {low:g} to {high:g}: expected {wanted}; rescale and save again")
        return Image.fromarray(np.clip(values, 0, 1))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*_BACKDROP, 255))
        image = Image.alpha_composite(backdrop, rgba)
    return image.convert("RGB" if channels == 3 else "L")


def as_rgb(image: Image.Image, *, bits: int = 16) -> Image.Image:
    """The picture as 8-bit RGB for showing, deep ones scaled by their range."""
    shown = to_channels(image, 3, bits=bits)
    if shown.mode == "F":
        shown = Image.fromarray((np.asarray(shown) * 255).round().astype(np.uint8))
    return shown.convert("RGB")


def significant_bits(path: Path) -> int | None:
    """Bits that a 16-bit picture really uses, rounded up to 10, 12, 14 or 16; None for 8-bit pictures."""
    with Image.open(path) as header:
        if not is_deep(header) or header.mode == "F":
            return None
    highest = int(np.asarray(open_image(path)).max())
    return next((bits for bits in (10, 12, 14, 16) if highest < 2**bits), 16)
