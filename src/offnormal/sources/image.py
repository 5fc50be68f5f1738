"""One picture file -> 8-bit RGB or a float array: orientation, 16 bits, alpha, palettes and limits are settled here."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from offnormal.errors import ImageError
from offnormal.sources import idx

_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_PORTABLE = frozenset({".ppm", ".pgm", ".pbm", ".pnm"})
SUFFIXES = _JPEG | _PORTABLE | {".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".avif"}
_BACKDROP = (255, 255, 255)  # what a transparent picture is shown on by most viewers
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # its value -> what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


def open_image(path: Path, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Open and fully decode one picture, turned upright by its EXIF orientation.

    at_least: (H, W) that suffice for what is meant with it. A JPEG may then be decoded at 1/2, 1/4 or 1/8, which is
    faster, when that divides both sides, so that every pixel keeps its place.
    Raises ImageError naming the file when it is missing, empty, truncated, of an unknown format, or larger
    than Pillow's limit against decompression bombs.
    """
    with _opened(path) as image:
        if at_least is not None:
            _decode_smaller(image, at_least)
        image.load()
        turn = _UPRIGHT.get(_orientation(image) or 1)  # Pillow itself turns TIFF, and forgets the orientation then
        return image.copy() if turn is None else image.transpose(turn)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of the upright picture, from its header alone; ImageError when the header cannot be read."""
    with _opened(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # whose size is upright in some versions of Pillow
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if _orientation(image) in _SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, struct.error):
        return None  # damaged EXIF does not make a picture unreadable
    return value if isinstance(value, int) else None


def _decode_smaller(image: Image.Image, at_least: tuple[int, int]) -> None:
    if image.format != "JPEG":
        return
    height, width = reversed(at_least) if _orientation(image) in _SIDEWAYS else at_least
    for scale in (8, 4, 2):
        small = (image.width // scale, image.height // scale)
        if (small[0] * scale, small[1] * scale) == image.size and small[0] >= width and small[1] >= height:
            image.draft(None, small)
            return


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header read; every fault of the file, also while it is decoded, becomes an ImageError."""
    inside = None if path.suffix else idx.address(path)
    if inside is not None:
        yield Image.fromarray(idx.image(*inside))
        return
    try:
        # by handle: of a path Pillow maps plain TIFF into memory, which scrambles one that lies on its side
        with path.open("rb") as file, Image.open(file) as image:
            yield image
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
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError, struct.error) as error:
        if isinstance(error, OSError) and error.strerror:  # the system's word, not a decoder's
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
        raise ImageError(f"{path}: damaged or truncated picture ({error}); replace or remove it") from None


def is_deep(image: Image.Image) -> bool:
    """Whether the picture has more than 8 bits a channel."""
    return image.mode.startswith("I") or image.mode == "F"


def to_channels(image: Image.Image, channels: int, *, bits: int = 16) -> Image.Image:
    """The picture as 8-bit RGB or gray, or, when it is deeper, as gray 32-bit float in 0-1 (mode `F`).

    Transparent pixels are laid on white. 16-bit pictures are divided by 2**bits - 1, never clipped at 255;
    float pictures must already lie in 0-1. Raises ImageError for values outside.
    """
    if is_deep(image):
        return _scaled_deep(image, bits)
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*_BACKDROP, 255))
        image = Image.alpha_composite(backdrop, rgba)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")  # from which every other mode can be reached
    return image.convert("RGB" if channels == 3 else "L")


def _scaled_deep(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    kind, limit, wanted = ("float", 1, "0 to 1") if image.mode == "F" else ("32-bit", 2**16 - 1, "16-bit values")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= limit):  # false for NaN too
        raise ImageError(f"{kind} picture with values {low:g} to {high:g}: expected {wanted}; rescale and save again")
    return Image.fromarray(values if image.mode == "F" else np.minimum(values / np.float32(2**bits - 1), 1))


def as_rgb(image: Image.Image, *, bits: int = 16) -> Image.Image:
    """The picture as 8-bit RGB for showing, deep ones scaled by their range."""
    shown = to_channels(image, 3, bits=bits)
    if shown.mode == "F":
        shown = Image.fromarray((np.asarray(shown) * 255).round().astype(np.uint8))
    return shown.convert("RGB")


def significant_bits(path: Path) -> int | None:
    """Bits that a 16-bit picture really uses, rounded up to 10, 12, 14 or 16; None for 8-bit and float pictures.

    Raises ImageError as `open_image` does.
    """
    with _opened(path) as image:
        if not is_deep(image) or image.mode == "F":
            return None
        highest = int(np.asarray(image).max())
    return next((bits for bits in (10, 12, 14) if highest < 2**bits), 16)


def open_mask(path: Path) -> np.ndarray:
    """One mask as (H, W) bool, upright: every pixel that is neither black nor transparent is marked.

    In a palette picture black, or where no pixel is black the index 0, is the ground and all else is marked, so that
    both label pictures of any colors and recompressed black-and-white masks are understood. A JPEG, which cannot
    keep black quite black, is marked from half of full scale on. Raises ImageError as `open_image` does.
    """
    image = open_image(path)
    if image.mode == "P":
        return _marked_indices(image)
    if is_deep(image) or image.mode in ("1", "L"):
        values = np.asarray(image)
    else:
        rgba = np.asarray(image.convert("RGBA"))
        values = np.where(rgba[..., 3] > 0, rgba[..., :3].max(-1), 0)
    return np.asarray(values > (127 if path.suffix.lower() in _JPEG else 0))


def _marked_indices(image: Image.Image) -> np.ndarray:
    indices = np.asarray(image)
    colors = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = [int(i) for i in np.unique(indices)]
    ground = next((i for i in used if i < len(colors) and not colors[i].any()), 0)
    return np.asarray(indices != ground)
