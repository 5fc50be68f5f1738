"""The pages of a TIFF file, and samples of every depth, which Pillow reads through 8 bits or not at all."""

from __future__ import annotations

import math
import os
import struct
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from offnormal.errors import ImageError
from offnormal.sources.pillow import silence_libtiff

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_PURPOSE, _EXTRA, _FORMAT, _ORIENTATION, _MAXIMUM = 254, 338, 339, 274, 281
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_REDUCED, _MASK = 1, 4  # flags of a page's purpose
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}  # samples per pixel without alpha
_MAX_PAGES = 100_000
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_LONG = 4
_TYPES = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}  # integers
_Tags = dict[int, tuple[int, ...]]

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: files above 4 GB


class TiffPage:
    """The tags of one page; ImageError for tags that contradict each other."""

    def __init__(self, tags: _Tags, number: int, header: bytes) -> None:
        self.number = number  # from 0, of all pages
        self._tags = tags
        self.header = header  # of a file that starts with this page
        self.big_endian = header.startswith(b"M")
        self.size = (self._int(_LENGTH), self._int(_WIDTH))  # (H, W) as stored
        self.orientation = self._int(_ORIENTATION, 1)
        bits = set(self._all(_BITS, (1,)))
        self.bits = max(bits)
        self.has_mixed_bits = len(bits) > 1
        self.format = self._int(_FORMAT, _UNSIGNED)
        self.samples = self._int(_SAMPLES, 1)
        self.photometric = self._int(_PHOTOMETRIC, _BLACK_IS_ZERO)
        self.is_copy = bool(self._int(_PURPOSE, 0) & _REDUCED)  # a smaller copy of another page
        self.is_mask = bool(self._int(_PURPOSE, 0) & _MASK)  # a transparency mask of another page

    @property
    def is_deep(self) -> bool:
        """Whether the samples have more than 8 bits."""
        return self.bits > 8

    @property
    def stated_bits(self) -> int | None:
        """The significant bits that the file states for its integer samples; None: it states none."""
        highest = max(self._all(_MAXIMUM, (0,))) if self.format == _UNSIGNED else 0
        return highest.bit_length() if 0 < highest < 2**self.bits - 1 else None

    def _int(self, tag: int, default: int | None = None) -> int:
        return self._all(tag, None if default is None else (default,))[0]

    def _all(self, tag: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        values = self._tags.get(tag) or default
        if values is None or min(values) < 0:
            raise ImageError(f"TIFF tag {tag} is missing or damaged; replace or remove the file")
        return values

    def read_samples(self, file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the values (H, W) or (H, W, 3) in their own type, and alpha (H, W) or None.

        Raises ImageError for a kind of TIFF that cannot be read in full depth.
        """
        colors = _COLORS.get(self.photometric, 0)
        if not colors or self.has_mixed_bits or not colors <= self.samples <= colors + 1 or not 8 < self.bits <= 64:
            raise ImageError(
                f"TIFF with {self.samples} samples of {self.bits} bits and photometric interpretation "
                f"{self.photometric}; expected gray, RGB, or CMYK with at most one alpha channel; convert it to RGB"
            )
        samples = self._samples(file)
        alpha = samples[..., colors] if self.samples > colors and any(self._all(_EXTRA, (0,))) else None
        values = samples[..., 0] if colors == 1 else samples[..., :colors]
        full = 2**self.bits - 1
        if self.photometric == _WHITE_IS_ZERO and self.format == _UNSIGNED:
            values = full - values
        if self.photometric == _CMYK:
            ink = values.astype(np.float64) / (full if self.format == _UNSIGNED else 1)
            values = ((1 - ink[..., :3]) * (1 - ink[..., 3:]) * (full if self.format == _UNSIGNED else 1)).round()
            values = values.astype(samples.dtype)
        return values, alpha

    def _samples(self, file: BinaryIO) -> np.ndarray:
        """Decompress all samples (H, W, S); each band of a planar file is stored separately."""
        height, width = self.size
        is_tiled = _TILE_OFFSETS in self._tags
        bands = self.samples if self._int(_PLANAR, 1) == 2 else 1
        stored_width = self._int(_TILE_WIDTH) if is_tiled else width
        if not 0 < stored_width <= 1 << 20 or height < 1 or width < 1:
            raise ImageError(f"TIFF of {height}x{width} pixels in tiles of width {stored_width}")
        across = math.ceil(width / stored_width)
        values_in_row = stored_width * (self.samples // bands)
        row_bytes = math.ceil(values_in_row * self.bits / 8)
        offsets = self._all(_TILE_OFFSETS if is_tiled else _OFFSETS)
        sizes = self._byte_counts(len(offsets), height * row_bytes // bands, is_tiled)
        if len(offsets) != len(sizes) or len(offsets) % bands:
            raise ImageError(f"TIFF with {len(offsets)} offsets and {len(sizes)} sizes")
        each, file_size = len(offsets) // bands, file.seek(0, os.SEEK_END)
        decoded = []
        for start in range(0, len(offsets), each):
            pieces = []
            for offset, size in zip(offsets[start : start + each], sizes[start : start + each], strict=True):
                if size > file_size:
                    raise ImageError(f"TIFF that claims {size:,} bytes of samples; the file has {file_size:,}")
                file.seek(offset)
                pieces.append(file.read(size))
            raw = self._decompress(pieces, across * row_bytes, height, row_bytes if is_tiled else None)
            values = self._to_values(raw.reshape(height, across, row_bytes), values_in_row, self.samples // bands)
            decoded.append(values.reshape(height, across * stored_width, -1)[:, :width])
        return np.concatenate(decoded, axis=-1)

    def _byte_counts(self, number: int, total: int, is_tiled: bool) -> tuple[int, ...]:
        tag = _TILE_COUNTS if is_tiled else _COUNTS
        if tag not in self._tags and number == 1 and self._int(_COMPRESSION, 1) == 1:
            return (total,)
        return self._all(tag)

    def _decompress(self, pieces: list[bytes], width: int, height: int, tile_width: int | None) -> np.ndarray:
        """Let libtiff unpack the stored bytes as if they were an 8-bit gray image -> (height, width) uint8."""
        tags = {
            _WIDTH: width,
            _LENGTH: height,
            _BITS: 8,
            _COMPRESSION: self._int(_COMPRESSION, 1),
            _PHOTOMETRIC: _BLACK_IS_ZERO,
            _FILL_ORDER: self._int(_FILL_ORDER, 1),
            _SAMPLES: 1,
        }
        if tile_width is None:
            tags[_ROWS] = min(self._int(_ROWS, height), height)
        else:
            tags |= {_TILE_WIDTH: tile_width, _TILE_LENGTH: self._int(_TILE_LENGTH)}
        silence_libtiff()
        with TiffImageFile(BytesIO(_gray_file(tags, pieces, is_tiled=tile_width is not None))) as image:
            return np.asarray(image).reshape(height, width)

    def _to_values(self, raw: np.ndarray, count: int, stride: int) -> np.ndarray:
        """Rows of bytes (H, A, B) -> rows of `count` values (H, A, count); undoes the differences between neighbors."""
        predictor = self._int(_PREDICTOR, 1)
        order = ">" if self.big_endian else "<"
        if self.bits % 8:
            ones = np.unpackbits(raw, axis=-1)[..., : count * self.bits].reshape(*raw.shape[:2], count, self.bits)
            weights = (1 << np.arange(self.bits - 1, -1, -1)).astype(np.int64)
            packed = ones @ weights
            if self.format == _SIGNED:
                packed -= (packed >> (self.bits - 1)) << self.bits
            return packed.astype(np.int32 if self.bits > 16 or self.format == _SIGNED else np.uint16)
        size = self.bits // 8
        kinds = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}
        if self.format not in kinds or size not in (2, 4, 8):
            raise ImageError(f"TIFF with samples of {self.bits} bits in format {self.format}; expected numbers")
        kind = kinds[self.format]
        if predictor == 3:  # bytes are sorted by significance, then stored as differences
            steps = raw.reshape(*raw.shape[:2], -1, stride)
            summed = steps.cumsum(axis=2, dtype=np.uint8).reshape(*raw.shape[:2], size, count)
            return np.ascontiguousarray(summed.swapaxes(2, 3)).view(f">{kind}{size}")[..., 0].astype(f"{kind}{size}")
        stored = np.ascontiguousarray(raw)
        if predictor == 2:
            numbers = stored.view(f"{order}u{size}").astype(f"u{size}").reshape(*raw.shape[:2], -1, stride)
            return numbers.cumsum(axis=2, dtype=numbers.dtype).reshape(*raw.shape[:2], count).view(f"{kind}{size}")
        return stored.view(f"{order}{kind}{size}").astype(f"{kind}{size}")


def _gray_file(tags: dict[int, int], pieces: list[bytes], *, is_tiled: bool) -> bytes:
    """Write a TIFF file with these tags and compressed strips or tiles."""
    count = len(pieces)
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    sizes = [len(piece) for piece in pieces]
    offsets = [start + 8 * count + sum_before for sum_before in np.cumsum([0, *sizes[:-1]]).tolist()]
    entries = [(tag, _LONG, 1, value) for tag, value in tags.items()]
    first, second = (offsets[0], sizes[0]) if count == 1 else (start, start + 4 * count)
    entries.append((_TILE_OFFSETS if is_tiled else _OFFSETS, _LONG, count, first))
    entries.append((_TILE_COUNTS if is_tiled else _COUNTS, _LONG, count, second))
    directory = b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    lists = struct.pack(f"<{2 * count}L", *offsets, *sizes)
    return b"".join((struct.pack("<4sLH", b"II*\0", 8, len(entries)), directory, struct.pack("<L", 0), lists, *pieces))


def read_pages(file: BinaryIO, limit: int = _MAX_PAGES) -> list[TiffPage]:
    """Return the pages of a TIFF file in order, at most `limit`; ImageError for one without pages."""
    length = file.seek(0, 2)
    file.seek(0)
    header = file.read(16)
    order = ">" if header.startswith(b"M") else "<"
    is_big = b"+" in header[2:4]
    (position,) = struct.unpack_from(f"{order}{'Q' if is_big else 'L'}", header, 8 if is_big else 4)
    pages: list[TiffPage] = []
    visited: set[int] = set()
    while 0 < position < length and position not in visited and len(pages) < limit:
        visited.add(position)
        start = (
            header[:8] + struct.pack(f"{order}Q", position)
            if is_big
            else header[:4] + struct.pack(f"{order}L", position)
        )
        tags, position = _read_tags(file, position, length, order, is_big=is_big)
        pages.append(TiffPage(tags, len(pages), start))
    if not pages or (position >= length and limit > 1):
        problem = "without a page" if not pages else f"whose page {len(pages) + 1} is beyond its end"
        raise ImageError(f"a TIFF file {problem}; replace or remove it")
    return pages


def _read_tags(file: BinaryIO, position: int, length: int, order: str, *, is_big: bool) -> tuple[_Tags, int]:
    """Read the integer tags of one page, and the position of the next page."""
    count_code, entry_code, offset_code = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHL4s", "L")
    file.seek(position)
    (count,) = _unpack(file, order + count_code)
    tags: _Tags = {}
    budget = length
    entries = [_unpack(file, order + entry_code) for _ in range(min(count, length // 12))]
    (following,) = _unpack(file, order + offset_code)
    for tag, kind, number, field in entries:
        if kind not in _TYPES:
            continue
        code = f"{order}{number}{_TYPES[kind]}"
        size = number * struct.calcsize(order + _TYPES[kind])
        budget -= size
        if budget < 0:
            raise ImageError(f"TIFF tag {tag} is larger than the file; replace or remove it")
        content = field
        if size > len(field):
            file.seek(struct.unpack(order + offset_code, field)[0])
            content = file.read(size)
        tags.setdefault(tag, struct.unpack(code, content[:size]))
    return tags, following


def _unpack(file: BinaryIO, code: str) -> tuple[Any, ...]:
    return struct.unpack(code, file.read(struct.calcsize(code)))
