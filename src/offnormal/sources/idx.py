"""Pictures inside IDX files, the form of MNIST and Fashion-MNIST: each has a path of its own, FILE/NUMBER.

Such a path stands wherever that of a picture file does: in datasets, scores, reports, and on the command line.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import threading
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from offnormal.errors import ImageError

_NAME = re.compile(r"[.-]idx[13]-ubyte(\.gz)?$", re.IGNORECASE)
_BYTES = 0x08  # the type of the numbers: unsigned bytes
_MOST = 1 << 31  # bytes in one file
_reading = threading.Lock()  # or every reader would unpack the same file at once


def is_idx(path: Path) -> bool:
    """Whether the name ends like that of an IDX file, packed or not: `train-images-idx3-ubyte.gz`."""
    return _NAME.search(path.name) is not None


def address(path: Path) -> tuple[Path, int] | None:
    """File and number of a picture inside an IDX file; None for any other path.

    >>> address(Path("mnist/t10k-images-idx3-ubyte.gz/42"))[1], address(Path("42.png"))
    (42, None)
    """
    return (path.parent, int(path.name)) if path.name.isdecimal() and is_idx(path.parent) else None


def images_of(file: Path) -> list[Path]:
    """Paths of all pictures inside a file; ImageError when it is not an IDX file of pictures."""
    count, *size = idx_shape(file)
    if len(size) != 2:
        raise ImageError(f"{file}: holds {len(size) + 1}-dimensional numbers, expected pictures one after the other")
    return [file / str(number) for number in range(count)]


def image(file: Path, number: int) -> np.ndarray:
    """One picture (H, W) uint8; ImageError when the file is damaged or has no such picture."""
    stack = read_idx(file)
    if stack.ndim != 3 or number >= len(stack):
        raise ImageError(f"{file / str(number)}: no such picture; the file holds an array of {stack.shape}")
    return np.asarray(stack[number])


def idx_shape(file: Path) -> tuple[int, ...]:
    """The shape of the array in an IDX file, from its header alone; ImageError when it is not one."""
    with _explained(file), _opened(file) as opened:
        return _shape(file, opened)


def read_idx(file: Path) -> np.ndarray:
    """The array in an IDX file, uint8, read-only, kept for the next call; ImageError when it is damaged or missing."""
    with _explained(file):
        found = file.stat()
    with _reading:
        return _read(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(file: Path, changed_ns: int, size: int) -> np.ndarray:
    with _explained(file), _opened(file) as opened:
        shape = _shape(file, opened)
        content = opened.read(math.prod(shape) + 1)
    if len(content) != math.prod(shape):
        raise ImageError(
            f"{file}: {'fewer' if len(content) < math.prod(shape) else 'more'} than the {math.prod(shape)} bytes that "
            f"its header promises, {shape}; fetch the file again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _opened(file: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")


def _shape(file: Path, opened: BinaryIO | gzip.GzipFile) -> tuple[int, ...]:
    start = opened.read(4)
    dimensions = start[3] if len(start) == 4 else 0
    sizes = opened.read(4 * dimensions)
    if start[:3] != bytes((0, 0, _BYTES)) or not 1 <= dimensions <= 3 or len(sizes) != 4 * dimensions:
        raise ImageError(f"{file}: not an IDX file of bytes (it starts with {start.hex(' ') or 'nothing'})")
    shape = tuple(int(side) for side in np.frombuffer(sizes, ">u4"))
    if math.prod(shape) > _MOST:
        raise ImageError(f"{file}: its header promises {math.prod(shape):,} bytes; expected at most {_MOST:,}")
    return shape


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turns what is wrong with a file into an ImageError with its name."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ImageError(f"{file}: damaged or truncated ({error}); fetch the file again") from None
    except OSError as error:
        raise ImageError(f"{file}: cannot be read ({error.strerror})") from None
