"""Image files as 8-bit RGB or float: orientation, bit depth, alpha, palettes, and size limits."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from offnormal.errors import ImageError
from offnormal.input_files import open_regular
from offnormal.sources import idx

_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_PORTABLE = frozenset({".ppm", ".pgm", ".pbm", ".pnm"})
SUFFIXES = _JPEG | _PORTABLE | {".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".avif"}
_BACKDROP = (255, 255, 255)  # most viewers show transparent images on white
_ORIENTATION = 0x0112  # the EXIF tag
_TO_UPRIGHT = {  # EXIF value -> transposition that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)


def open_image(path: Path, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Open and fully decode one image, turned upright by its EXIF orientation.

    at_least: (H, W) that the caller needs. A JPEG may then be decoded faster at 1/2, 1/4, or 1/8 of its size, if that
    divides both sides.
    Raises ImageError with the path when the file is missing, empty, truncated, of an unknown format, or larger
    than Pillow's limit against decompression bombs.
    """
    with _open(path) as image:
        if at_least is not None:
            _decode_smaller(image, at_least)
        image.load()
        turn = _TO_UPRIGHT.get(_orientation(image) or 1)  # Pillow turns TIFF itself and drops the tag
        return image.copy() if turn is None else image.transpose(turn)


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of the upright image from its header; ImageError when the header cannot be read."""
    with _open(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # some versions of Pillow report the upright size
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if _orientation(image) in _SWAPS_SIDES else (height, width)


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, struct.error):
        return None  # damaged EXIF leaves the image readable
    return value if isinstance(value, int) else None


def _decode_smaller(image: Image.Image, at_least: tuple[int, int]) -> None:
    if image.format != "JPEG":
        return
    height, width = reversed(at_least) if _orientation(image) in _SWAPS_SIDES else at_least
    for scale in (8, 4, 2):
        small = (image.width // scale, image.height // scale)
        if (small[0] * scale, small[1] * scale) == image.size and small[0] >= width and small[1] >= height:
            image.draft(None, small)
            return


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Yield the image after reading its header; errors of the file or its decoding become an ImageError."""
    inside = None if path.suffix else idx.parse_address(path)
    if inside is not None:
        yield Image.fromarray(idx.read_image(*inside))
        return
    try:
        # open a handle: given a path, Pillow memory-maps plain TIFF, which scrambles rotated ones
        with open_regular(path) as file, Image.open(file) as image:
            yield image
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {error}. If the file is genuine, scale it down or cut it into tiles") from None
    except UnidentifiedImageError:
        size = path.stat().st_size
        reason = "the file is empty" if size == 0 else f"not a readable image ({size} bytes)"
        raise ImageError(f"{path}: {reason}; replace or remove it") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError, struct.error) as error:
        if isinstance(error, OSError) and error.strerror:  # an error of the system, not of a decoder
            raise ImageError(f"{path}: cannot be read ({error.strerror}); check the file") from None
        raise ImageError(f"{path}: damaged or truncated image ({error}); replace or remove it") from None


def is_deep(image: Image.Image) -> bool:
    """Whether the image has more than 8 bits per channel."""
    return image.mode.startswith("I") or image.mode == "F"


def to_channels(image: Image.Image, channels: int, *, bits: int = 16) -> Image.Image:
    """Convert to 8-bit RGB or gray; deeper images to gray 32-bit float in 0-1 (mode `F`).

    Transparent pixels become white. 16-bit images are divided by 2**bits - 1; float images must be in 0-1.
    Raises ImageError for other values.
    """
    if is_deep(image):
        return _scale_deep(image, bits)
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*_BACKDROP, 255))
        image = Image.alpha_composite(backdrop, rgba)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")  # converts to every other mode
    return image.convert("RGB" if channels == 3 else "L")


def _scale_deep(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    kind, limit, expected = ("float", 1, "0 to 1") if image.mode == "F" else ("32-bit", 2**16 - 1, "16-bit values")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= limit):  # false for NaN too
        raise ImageError(f"{kind} image with values {low:g} to {high:g}: expected {expected}; rescale and save again")
    return Image.fromarray(values if image.mode == "F" else np.minimum(values / np.float32(2**bits - 1), 1))


def to_rgb(image: Image.Image, *, bits: int = 16) -> Image.Image:
    """Convert to 8-bit RGB for display; deep images are scaled by their range."""
    rgb = to_channels(image, 3, bits=bits)
    if rgb.mode == "F":
        rgb = Image.fromarray((np.asarray(rgb) * 255).round().astype(np.uint8))
    return rgb.convert("RGB")


def significant_bits(path: Path) -> int | None:
    """Return the bits that a 16-bit image uses, rounded up to 10, 12, 14, or 16; None for 8-bit and float images.

    Raises ImageError as `open_image` does.
    """
    with _open(path) as image:
        if not is_deep(image) or image.mode == "F":
            return None
        highest = int(np.asarray(image).max())
    return next((bits for bits in (10, 12, 14) if highest < 2**bits), 16)


def open_mask(path: Path) -> np.ndarray:
    """Read a mask as (H, W) bool, upright; True where a pixel is neither black nor transparent.

    In palette images the background is black, or index 0 if no pixel is black. In a JPEG, where compression
    lightens black, pixels above half of full scale are marked. Raises ImageError as `open_image` does.
    """
    image = open_image(path)
    if image.mode == "P":
        return _mask_from_palette(image)
    if is_deep(image) or image.mode in ("1", "L"):
        values = np.asarray(image)
    else:
        rgba = np.asarray(image.convert("RGBA"))
        values = np.where(rgba[..., 3] > 0, rgba[..., :3].max(-1), 0)
    return np.asarray(values > (127 if path.suffix.lower() in _JPEG else 0))


def _mask_from_palette(image: Image.Image) -> np.ndarray:
    indices = np.asarray(image)
    colors = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = [int(i) for i in np.unique(indices)]
    background = next((i for i in used if i < len(colors) and not colors[i].any()), 0)
    return np.asarray(indices != background)
