"""Images inside files, each with an address: pages and frames as `x.tif[2]`, images of IDX files as `FILE/42`.

Such an address works wherever the path of an image file does: in datasets, scores, reports, and on the command line.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections import Counter
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from offnormal.errors import ImageError, counted
from offnormal.input_files import open_regular
from offnormal.sources import idx, tiff
from offnormal.sources.pillow import check_pixels, open_pillow, png_chunks

_ADDRESS = re.compile(r"(.+\.(?:tiff?|gif|webp|a?png|avif))\[(\d+)\]", re.IGNORECASE)
MULTIPLE = frozenset({".tif", ".tiff", ".gif", ".webp", ".png", ".apng", ".avif"})  # formats that may have pages
_HEAD = 32  # bytes in which a file states its format
_RECENT = 32  # frames kept, because several threads read one file
_FILES = 4  # open animations
DECODER_ERRORS = (  # what Pillow raises for damaged files
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def parse_address(path: Path) -> tuple[Path, int] | None:
    """Split the address of an image inside a file into file and number; None for the path of a file.

    Pages and frames are counted from 1, images of IDX files from 0, as their labels are.

    >>> parse_address(Path("scan.tif[2]"))[1], parse_address(Path("t-images-idx3-ubyte/42"))[1]
    (2, 42)
    """
    if not path.suffix:
        return idx.parse_address(path)
    if path.name.endswith("]") and (match := _ADDRESS.fullmatch(path.name)) and not path.is_file():
        return path.with_name(match[1]), int(match[2])
    return None


def pages_in(file: Path) -> tuple[list[Path], Counter[str]]:
    """Return the addresses of all images in a file, or the file itself if there is one; and pages skipped by reason.

    A file whose images cannot be counted has one address, which is an error when it is read.
    """
    if file.suffix.lower() not in MULTIPLE:
        return [file], Counter()
    try:
        with open_regular(file) as stream:
            head = stream.read(_HEAD)
            is_animation = _is_animation(head, stream)
        if head.startswith(tiff.MAGIC):
            numbers, skipped = _tiff_pages(file)
        elif is_animation:
            numbers, skipped = list(range(1, _animation(file).count + 1)), Counter[str]()
        else:
            return [file], Counter()
    except (*DECODER_ERRORS, ImageError):
        return [file.with_name(f"{file.name}[1]")], Counter()
    is_whole = numbers in ([1], [])
    return [file] if is_whole else [file.with_name(f"{file.name}[{number}]") for number in numbers], skipped


def _tiff_pages(file: Path) -> tuple[list[int], Counter[str]]:
    pages = read_tiff_pages(file)
    skipped = Counter({"smaller copies of a page": sum(page.is_copy for page in pages)})
    skipped["transparency masks"] = sum(page.is_mask and not page.is_copy for page in pages)
    return [page.number + 1 for page in pages if not page.is_copy and not page.is_mask], +skipped


def _is_animation(head: bytes, file: BinaryIO) -> bool:
    """Whether a file may have several frames: GIF, animated WebP or AVIF, PNG with an animation before its data."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in takewhile(lambda name: name != b"IDAT", png_chunks(file))
    is_webp = head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)
    return head.startswith(b"GIF8") or is_webp or head[4:12] == b"ftypavis"


def read_tiff_pages(file: Path) -> list[tiff.TiffPage]:
    """Return the pages of a TIFF file, cached; ImageError if it is damaged."""
    status = file.stat()
    return _read_tiff_version(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_FILES)
def _read_tiff_version(file: Path, changed_ns: int, size: int) -> list[tiff.TiffPage]:
    with open_regular(file) as stream:
        return tiff.read_pages(stream)


class TiffPageFile(io.FileIO):
    """A TIFF file whose header points to one of its pages, so that Pillow opens that page."""

    def __init__(self, path: Path, page: tiff.TiffPage) -> None:
        super().__init__(path)
        self._header = page.header

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes, those of the header replaced."""
        start = self.tell()
        content = super().read(-1 if size is None else size) or b""
        return (self._header[start:] + content[max(0, len(self._header) - start) :])[: len(content)]


def read_frame(file: Path, number: int, max_pixels: int) -> Image.Image:
    """Decode one frame of an animation, number from 1; ImageError if there is none, or if it is too large."""
    animation = _animation(file)
    check_pixels(animation.size, max_pixels)
    if not 1 <= number <= animation.count:
        raise ImageError(f"no frame {number}; the file has {counted(animation.count, 'frame')}")
    return animation.frame(number - 1)


def _animation(file: Path) -> _Animation:
    status = file.stat()
    return _open_animation(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_FILES)
def _open_animation(file: Path, changed_ns: int, size: int) -> _Animation:
    return _Animation(file)


class _Animation:
    """The frames of a GIF, WebP, PNG, or AVIF file. Each one builds on those before it: they are decoded in order."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._content = file.read_bytes()
        self._recent: dict[int, Image.Image] = {}
        self._rewind()
        self.size = (self._image.height, self._image.width)
        self.count: int = getattr(self._image, "n_frames", 1)

    def _rewind(self) -> None:
        """Open the file again: Pillow's rewind loses the frame numbers of a PNG."""
        image = open_pillow(io.BytesIO(self._content))
        if image is None:
            raise ImageError("not a readable image; replace or remove it")
        self._image, self._next = image, 0

    def frame(self, number: int) -> Image.Image:
        """Return a frame, number from 0."""
        with self._lock:
            if number not in self._recent:
                if number < self._next:
                    self._rewind()
                for index in range(self._next, number + 1):
                    self._image.seek(index)
                    self._recent[index] = self._image.copy()
                    self._next = index + 1
                for index in list(self._recent)[:-_RECENT]:
                    del self._recent[index]
            return self._recent[number]
