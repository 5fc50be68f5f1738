"""Images of more than 8 bits per channel: their samples, and which values become black and white."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from io import BytesIO
from itertools import dropwhile
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from offnormal.errors import ImageError
from offnormal.sources import tiff
from offnormal.sources.pillow import png_chunks

Levels = tuple[float, float]  # the values that become 0 and 1
UNIT: Levels = (0.0, 1.0)
_BITS = (10, 12, 14, 16)  # of cameras
_MARGIN = 0.25  # of the range of values, above and below: a defect may be hotter than anything normal
_MUCH = 15  # a 16-bit image with values of 12 bits is this many times darker
_ORIENTATION = 0x0112  # the EXIF tag
SWAPS_SIDES = (5, 6, 7, 8)  # orientations of images that lie on their side
_TURNS = {  # EXIF orientation -> the upright array
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
_PNG_BANDS = {2: "RGB", 6: "RGBA"}  # color type of the header -> Pillow's mode
_PNG_TEXT = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that may contain EXIF
_PNG_GRAY, _PNG_GRAY_ALPHA = 0, 4
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 1024  # bytes read to recognize a file
_PORTABLE = re.compile(rb"P([2356])\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s")


@dataclass(frozen=True, slots=True)
class Depth:
    """The range of values in one or more deep images."""

    low: float
    high: float
    is_float: bool
    stated_bits: int | None = None  # significant bits by the file's own word

    def __or__(self, other: Depth) -> Depth:
        stated = max((bits for bits in (self.stated_bits, other.stated_bits) if bits is not None), default=None)
        is_float = self.is_float or other.is_float
        return Depth(min(self.low, other.low), max(self.high, other.high), is_float, stated)

    @property
    def levels(self) -> Levels:
        """The values that become 0 and 1.

        Float values in 0-1 are unchanged. Unsigned integers of up to 16 bits start at 0 and end at the highest value of
        10, 12, 14, or 16 bits, whichever is the first that contains them and the bits that a file states. Of all other
        values the range is widened by a quarter on both sides.
        """
        if self.is_float and self.low >= 0 and self.high <= 1:
            return UNIT
        if not self.is_float and self.low >= 0 and self.high < 2**16:
            stated = self.stated_bits if self.stated_bits is not None and self.high < 2**self.stated_bits else 0
            return 0.0, float(2 ** next(bits for bits in _BITS if self.high < 2**bits and bits >= min(stated, 16)) - 1)
        margin = _MARGIN * (self.high - self.low) or 1.0
        return self.low - margin, self.high + margin

    def fit(self, learned: Levels | None) -> tuple[Levels, str | None]:
        """Choose the levels for an image, and explain how it differs from the training images; None: it does not.

        learned: levels of the training images; None: they had 8 bits.
        """
        values = f"values from {self.low:g} to {self.high:g}"
        if learned is None:
            low, high = self.levels
            return self.levels, f"more than 8 bits: {values}, training images had 8 bits; read as {low:g} to {high:g}"
        expected = f"training images had {learned[0]:g} to {learned[1]:g}"
        is_other_kind = self.levels == UNIT and learned[1] + 1 in (2**bits for bits in _BITS)
        if is_other_kind or (learned == UNIT and self.levels != UNIT):
            low, high = self.levels
            return self.levels, f"other values: {values}, {expected}; read as {low:g} to {high:g}"
        if self.low < learned[0] or self.high > learned[1]:
            return learned, f"values out of range: {values}, {expected}; values outside are clipped"
        if learned[0] == 0 and learned != UNIT and self.high * _MUCH < learned[1]:
            return learned, f"dark values: {values}, {expected}; read as they are, fit again if the camera has changed"
        return learned, None


def join_depths(depths: Iterable[Depth | None]) -> Depth | None:
    """Return the range of several images together; None if all have 8 bits."""
    deep = [depth for depth in depths if depth is not None]
    return reduce(Depth.__or__, deep) if deep else None


def explain_depth(depth: Depth | None, learned: Levels | None) -> str | None:
    """Explain how images differ in depth from the training images, and how they are read; None: they do not.

    depth: None for 8 bits. learned: as in `Depth.fit`.
    """
    if depth is not None:
        return depth.fit(learned)[1]
    if learned is None:
        return None
    return f"8 bits: training images had values from {learned[0]:g} to {learned[1]:g}; 0 to 255 are read as that range"


@dataclass(frozen=True, eq=False)
class DeepImage:
    """An upright image of more than 8 bits per channel, as stored."""

    values: np.ndarray  # (H, W) or (H, W, 3)
    alpha: np.ndarray | None = None  # (H, W) of the same type
    stated_bits: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.values.shape[0], self.values.shape[1]

    @cached_property
    def depth(self) -> Depth:
        """The range of its values; ImageError if some are not numbers."""
        low, high = float(self.values.min()), float(self.values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ImageError(
                f"float image with values {low:g} to {high:g}: expected finite numbers; replace the others"
            )
        return Depth(low, high, self.values.dtype.kind == "f", self.stated_bits)

    def turned(self, orientation: int) -> DeepImage:
        """Turn it upright by an EXIF orientation."""
        if (turn := _TURNS.get(orientation)) is None:
            return self
        alpha = None if self.alpha is None else turn(self.alpha)
        return DeepImage(turn(self.values), alpha, self.stated_bits)

    def scaled(self, channels: int, learned: Levels | None) -> np.ndarray:
        """Return gray (H, W) or RGB (H, W, 3) float32 in 0-1, transparent pixels white; one channel is always gray."""
        levels, _ = self.depth.fit(learned)
        scaled = _scale(self.values, levels)
        if self.alpha is not None:
            opaque = 1.0 if self.alpha.dtype.kind == "f" else float(np.iinfo(self.alpha.dtype).max)
            if self.alpha.max() <= levels[1] < opaque:
                opaque = levels[1]  # alpha uses as few bits as the values
            alpha = _scale(self.alpha, (0.0, opaque)).reshape(*self.size, *(1,) * (scaled.ndim - 2))
            scaled = scaled * alpha + (1 - alpha)
        if scaled.ndim == 3 and channels == 1:
            return np.asarray(scaled @ np.array([0.299, 0.587, 0.114], np.float32))
        return scaled


def _scale(values: np.ndarray, levels: Levels) -> np.ndarray:
    """Return float32 in 0-1; values outside the levels are clipped."""
    low, high = levels
    if low == 0 and values.dtype.itemsize <= 4:
        scaled = values.astype(np.float32) / np.float32(high)
    else:
        scaled = (values.astype(np.float64) - low) / (high - low)
    return scaled.clip(0, 1).astype(np.float32)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1, upright, if it has none."""
    try:
        is_in_header = isinstance(image, PngImageFile) and "exif" not in image.info and not _has_late_text(image)
        value = (Image.Image.getexif(image) if is_in_header else image.getexif()).get(_ORIENTATION)
    except (SyntaxError, ValueError, MemoryError, struct.error):
        return 1  # damaged EXIF leaves the image readable
    return value if isinstance(value, int) else 1


def _has_late_text(image: PngImageFile) -> bool:
    """Whether EXIF may follow the pixels of a PNG file; Pillow decodes all of them in search of it."""
    if (file := image.fp) is None:
        return False  # it is decoded
    position = file.tell()
    late = dropwhile(lambda name: name != b"IDAT", png_chunks(file))
    has_text = any(name in _PNG_TEXT for name in late)
    file.seek(position)
    return has_text


def _upright(size: tuple[int, int], turn: int) -> tuple[int, int]:
    return (size[1], size[0]) if turn in SWAPS_SIDES else size


@dataclass(frozen=True)
class DeepFile:
    """An open image file that Pillow cannot read in full depth."""

    size: tuple[int, int]  # (H, W), upright
    read: Callable[[], DeepImage]


def deep_file(file: BinaryIO, page: tiff.TiffPage | None = None) -> DeepFile | None:
    """Recognize a deep file that Pillow reads through 8 bits, or not at all; None for any other file.

    page: of a TIFF file; None: the first.
    """
    header = file.read(_HEADER)
    if header.startswith(_PNG) and len(header) > 25 and header[24] == 16:
        file.seek(0)
        content = file.read()
        with PngImageFile(BytesIO(content)) as image:
            turn = orientation(image)
            return DeepFile(_upright((image.height, image.width), turn), partial(_read_png, content, turn))
    if match := _PORTABLE.match(header):
        if not 255 < int(match[4]) < 2**16:
            return None
        return DeepFile((int(match[3]), int(match[2])), partial(_read_portable, file, match))
    if header.startswith(tiff.MAGIC):
        page = page or tiff.read_pages(file, 1)[0]
        if page.is_deep:
            return DeepFile(_upright(page.size, page.orientation), partial(_read_tiff, file, page))
    return None


def _read_tiff(file: BinaryIO, page: tiff.TiffPage) -> DeepImage:
    values, alpha = page.read_samples(file)
    return DeepImage(values, alpha, page.stated_bits).turned(page.orientation)


def _read_png(content: bytes, turn: int) -> DeepImage:
    """Decode a PNG file of 16 bits per channel, which Pillow reads only through 8."""
    bits, color = _significant_bits(content), content[25]
    if color == _PNG_GRAY:
        with PngImageFile(BytesIO(content)) as image:
            return DeepImage(np.array(image, dtype=np.uint16), None, bits).turned(turn)
    if color == _PNG_GRAY_ALPHA:  # its bytes are those of four channels of 8 bits
        header = content[12:24] + bytes((8, 6)) + content[26:29]
        content = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
        with PngImageFile(BytesIO(content)) as image:
            values = np.ascontiguousarray(image).view(">u2").astype(np.uint16)
        return DeepImage(values[..., 0], values[..., 1], bits).turned(turn)
    if color not in _PNG_BANDS:
        raise ImageError(f"PNG of 16 bits with color type {color}; expected gray, RGB, or these with alpha")
    high, low = (_decode_png(content, f"{_PNG_BANDS[color]};16{order}") for order in "BL")
    values = high.astype(np.uint16) << 8 | low
    return DeepImage(values[..., :3], values[..., 3] if values.shape[2] == 4 else None, bits).turned(turn)


def _decode_png(content: bytes, raw_mode: str) -> np.ndarray:
    """Decode one byte of each sample: `B` reads the high one, `L` the low one."""
    with PngImageFile(BytesIO(content)) as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.array(image)


def _significant_bits(content: bytes) -> int | None:
    start = content.find(b"sBIT", 8, max(8, content.find(b"IDAT")))
    return content[start + 4] if start > 0 else None


def _read_portable(file: BinaryIO, header: re.Match[bytes]) -> DeepImage:
    """Read a PGM or PPM file with values above 255."""
    width, height, highest, bands = int(header[2]), int(header[3]), int(header[4]), 3 if header[1] in b"36" else 1
    file.seek(header.end())
    count, body = width * height * bands, file.read()
    if header[1] in b"23":
        values = np.array(body.split()[:count], dtype=np.int64)
    else:
        values = np.frombuffer(body[: 2 * min(count, len(body) // 2)], ">u2")
    if len(values) != count:
        raise ImageError(f"truncated image with {len(values)} of {count} values; replace or remove it")
    values = np.minimum(values, highest).astype(np.uint16)
    return DeepImage(values.reshape((height, width, 3) if bands == 3 else (height, width)), None, highest.bit_length())


def from_pillow(image: Image.Image) -> DeepImage | None:
    """Return the values of a gray image of more than 8 bits that Pillow decoded in full; None for 8 bits."""
    if image.mode.startswith("I;16"):
        return DeepImage(np.asarray(image, dtype=np.uint16))
    return DeepImage(np.asarray(image)) if image.mode in ("I", "F") else None
