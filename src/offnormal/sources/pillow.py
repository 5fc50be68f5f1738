"""Opens image files with Pillow: only the formats that offnormal names, with a limit of its own, and no warnings."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO

import PIL
from PIL import Image
from PIL.ImageFile import ImageFile

from offnormal.errors import ImageError

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_SYSTEM_LIBRARIES = ("libtiff.so.6", "libtiff.so.5")


def open_pillow(file: BinaryIO, max_pixels: int | None = None) -> ImageFile | None:
    """Read the header of an image; None for an unknown format, ImageError for more than `max_pixels`.

    `Image.open` also starts external programs for some formats, and its limit cannot be raised for one call.
    """
    Image.init()
    prefix = file.read(16)
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIC_BRANDS and "HEIF" not in Image.OPEN and not _register_heif():
        raise ImageError("a HEIC image, which needs pillow-heif; install it: pip install 'offnormal[heic]'")
    for name in _FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        try:
            if accept is not None and accept(prefix) is not True:
                continue
            if name == "TIFF":
                silence_libtiff()
            file.seek(0)
            image = factory(file, "")
        except (SyntaxError, LookupError, TypeError, struct.error):
            continue
        if max_pixels is not None:
            check_pixels((image.height, image.width), max_pixels)
        return image
    return None


def _register_heif() -> bool:
    """Let Pillow read HEIC through the package pillow-heif; False if it is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageError for an image (H, W) of more than `max_pixels`."""
    height, width = size
    if height * width > max_pixels:
        raise ImageError(
            f"{height}x{width} is {height * width:,} pixels; expected at most {max_pixels:,}. If the file is genuine, "
            "raise --max-image-pixels, scale it down, or cut it into tiles"
        )


def png_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the names of a PNG file's chunks, however long they are, up to its end or to bytes that are no chunk."""
    position = 8
    while len(head := _read_at(file, position, 8)) == 8 and head[4:].isalpha():
        yield head[4:]
        position += 12 + int.from_bytes(head[:4], "big")


def _read_at(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


@lru_cache(maxsize=1)
def silence_libtiff() -> None:
    """Keep libtiff from printing to stderr; its errors are still raised by Pillow."""
    for library in _libtiff():
        try:
            handle = ctypes.CDLL(library)
            handle.TIFFSetErrorHandler(None)
            handle.TIFFSetWarningHandler(None)
        except (OSError, AttributeError):
            continue


def _libtiff() -> Iterator[str]:
    """Find the library that Pillow uses: its own, or that of the system."""
    folder = Path(PIL.__file__).parent
    bundled = [*folder.parent.glob("pillow.libs/libtiff*"), *folder.glob(".dylibs/libtiff*")]
    yield from map(str, bundled) if bundled else _SYSTEM_LIBRARIES
