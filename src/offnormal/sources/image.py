"""Image files as 8-bit or deep images: orientation, alpha, palettes, and size limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from offnormal.errors import ImageError, counted
from offnormal.input_files import open_regular
from offnormal.sources import idx
from offnormal.sources.deep import (
    SWAPS_SIDES,
    DeepFile,
    DeepImage,
    Depth,
    Levels,
    deep_file,
    explain_depth,
    from_pillow,
    orientation,
)
from offnormal.sources.pages import DECODER_ERRORS, MULTIPLE, TiffPageFile, parse_address, read_frame, read_tiff_pages
from offnormal.sources.pillow import check_pixels, open_pillow
from offnormal.sources.tiff import MAGIC
from offnormal.types import MAX_IMAGE_PIXELS

_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_HEIC = frozenset({".heic", ".heif", ".hif"})
_PORTABLE = frozenset({".ppm", ".pgm", ".pbm", ".pnm"})
SUFFIXES = _JPEG | _PORTABLE | _HEIC | MULTIPLE | {".bmp", ".dib", ".jp2"}
_IMAGES = "offnormal.images"  # key of Pillow's info: the number of images in a file of which one is read
_BACKDROP = (255, 255, 255)  # most viewers show transparent images on white
_TO_UPRIGHT = {  # EXIF value -> transposition that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Decoded = Image.Image | DeepImage


def open_image(path: Path, *, at_least: tuple[int, int] | None = None, max_pixels: int = MAX_IMAGE_PIXELS) -> Decoded:
    """Open and fully decode one image in its full depth, turned upright by its EXIF orientation.

    at_least: (H, W) that the caller needs. A JPEG may then be decoded faster at 1/2, 1/4, or 1/8 of its size, if that
    divides both sides.
    Raises ImageError with the path when the file is missing, empty, truncated, of an unknown format, or has more than
    `max_pixels`.
    """
    with _open(path, max_pixels) as image:
        if isinstance(image, DeepFile):
            return image.read()
        if at_least is not None:
            _decode_smaller(image, at_least)
        image.load()
        if (
            path.suffix.lower() not in MULTIPLE
            and (count := getattr(image, "n_frames", 1)) > 1
            and not parse_address(path)
        ):
            image.info[_IMAGES] = count
        turned = orientation(image)  # Pillow turns TIFF itself and drops the tag
        if (deep := from_pillow(image)) is not None:
            return deep.turned(turned)
        turn = _TO_UPRIGHT.get(turned)
        return image.copy() if turn is None else image.transpose(turn)


def image_size(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> tuple[int, int]:
    """Return (H, W) of the upright image from its header; ImageError when the header cannot be read."""
    with _open(path, max_pixels) as image:
        if isinstance(image, DeepFile):
            return image.size
        width, height = image.size
        if isinstance(image, TiffImageFile):  # some versions of Pillow report the upright size
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if orientation(image) in SWAPS_SIDES else (height, width)


def _decode_smaller(image: Image.Image, at_least: tuple[int, int]) -> None:
    if image.format != "JPEG":
        return
    height, width = reversed(at_least) if orientation(image) in SWAPS_SIDES else at_least
    for scale in (8, 4, 2):
        small = (image.width // scale, image.height // scale)
        if (small[0] * scale, small[1] * scale) == image.size and small[0] >= width and small[1] >= height:
            image.draft(None, small)
            return


@contextlib.contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[Image.Image | DeepFile]:
    """Yield the image after reading its header; errors of the file or its decoding become an ImageError."""
    inside = parse_address(path)
    if inside is not None and idx.is_idx(inside[0]):
        yield Image.fromarray(idx.read_image(*inside))
        return
    source, number = inside or (path, None)
    try:
        # open a handle: given a path, Pillow memory-maps plain TIFF, which scrambles rotated ones
        with open_regular(source) as file:
            page = None
            if number is not None:
                if not file.read(4).startswith(MAGIC):
                    yield read_frame(source, number, max_pixels)
                    return
                pages = read_tiff_pages(source)
                if not 1 <= number <= len(pages):
                    raise ImageError(f"no page {number}; the file has {counted(len(pages), 'page')}")
                page = pages[number - 1]
                file.seek(0)
            if (deep := deep_file(file, page)) is not None:
                check_pixels(deep.size, max_pixels)
                yield deep
                return
            file.seek(0)
            image = open_pillow(file if page is None else TiffPageFile(source, page), max_pixels)
            if image is None:
                size = source.stat().st_size
                reason = "the file is empty" if size == 0 else f"not a readable image ({size} bytes)"
                raise ImageError(f"{reason}; replace or remove it")
            with image:
                yield image
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:  # an error of the system, not of a decoder
            raise ImageError(f"{path}: cannot be read ({error.strerror}); check the file") from None
        raise ImageError(f"{path}: damaged or truncated image ({error}); replace or remove it") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def to_channels(image: Decoded, channels: int, *, levels: Levels | None = None) -> Image.Image | np.ndarray:
    """Convert to 8-bit RGB or gray; deep images to gray (H, W) or RGB (H, W, 3) float32 in 0-1.

    Transparent pixels become white. levels: the values of deep images that become 0 and 1, learned from the training
    images; None: these had 8 bits, and the image is scaled by its own levels.
    """
    if isinstance(image, DeepImage):
        return image.scaled(channels, levels)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*_BACKDROP, 255))
        image = Image.alpha_composite(backdrop, rgba)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")  # converts to every other mode
    return image.convert("RGB" if channels == 3 else "L")


def to_rgb(image: Decoded, *, levels: Levels | None = None) -> Image.Image:
    """Convert to 8-bit RGB for display; deep images are scaled as in `to_channels`."""
    rgb = to_channels(image, 3, levels=levels)
    if isinstance(rgb, np.ndarray):
        rgb = Image.fromarray((rgb * 255).round().astype(np.uint8))
    return rgb.convert("RGB")


def deep_colors(image: Decoded, levels: Levels | None) -> np.ndarray | None:
    """Return RGB (H, W, 3) float32 in 0-1 of a deep image; None for 8 bits."""
    if not isinstance(image, DeepImage):
        return None
    scaled = image.scaled(3, levels)
    return scaled if scaled.ndim == 3 else np.broadcast_to(scaled[..., None], (*scaled.shape, 3))


def image_depth(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> Depth | None:
    """Return the range of values of a deep image; None for an 8-bit image. Raises ImageError as `open_image` does."""
    with _open(path, max_pixels) as image:
        if isinstance(image, Image.Image) and not image.mode.startswith(("I", "F")):
            return None
        deep = image.read() if isinstance(image, DeepFile) else from_pillow(image)
        return None if deep is None else deep.depth


def reading_notes(image: Decoded, levels: Levels | None) -> list[str]:
    """Explain how an image is read that differs in depth from the training images, or that is one of several."""
    note = explain_depth(image.depth if isinstance(image, DeepImage) else None, levels)
    count = 1 if isinstance(image, DeepImage) else image.info.get(_IMAGES, 1)
    others = [f"several images: the file has {count}, such as previews or depth maps; only the main one is read"]
    return ([] if note is None else [note]) + (others if count > 1 else [])


def pixel_bytes(path: Path) -> bytes:
    """Return the decoded values of an image, to compare images inside files by their content."""
    image = open_image(path)
    return np.ascontiguousarray(image.values if isinstance(image, DeepImage) else image).tobytes()
