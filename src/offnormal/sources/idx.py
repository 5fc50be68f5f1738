"""Images inside IDX files (MNIST, Fashion-MNIST), each with a path FILE/NUMBER.

Such a path works wherever the path of an image file does: in datasets, scores, reports, and on the command line.
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
_BYTES = 0x08  # type code of unsigned bytes
_MAX_BYTES = 1 << 31  # maximum size of the array
_read_lock = threading.Lock()  # keeps several readers from unpacking the same file


def is_idx(path: Path) -> bool:
    """Whether the name is that of an IDX file, compressed or not: `train-images-idx3-ubyte.gz`."""
    return _NAME.search(path.name) is not None


def parse_address(path: Path) -> tuple[Path, int] | None:
    """Split the path of an image inside an IDX file into file and number; None for any other path.

    >>> parse_address(Path("mnist/t10k-images-idx3-ubyte.gz/42"))[1], parse_address(Path("42.png"))
    (42, None)
    """
    return (path.parent, int(path.name)) if path.name.isdecimal() and is_idx(path.parent) else None


def list_images(file: Path) -> list[Path]:
    """Return the paths of all images in an IDX file; ImageError when it contains no images."""
    count, *size = idx_shape(file)
    if len(size) != 2:
        raise ImageError(f"{file}: contains a {len(size) + 1}-D array; expected a 3-D array of images")
    return [file / str(number) for number in range(count)]


def read_image(file: Path, number: int) -> np.ndarray:
    """Read one image (H, W) uint8; ImageError when the file is damaged or has no such image."""
    stack = read_idx(file)
    if stack.ndim != 3 or number >= len(stack):
        raise ImageError(f"{file / str(number)}: no such image; the file contains an array of shape {stack.shape}")
    return np.asarray(stack[number])


def idx_shape(file: Path) -> tuple[int, ...]:
    """Return the shape of the array in an IDX file from its header; ImageError for another file."""
    with _name_errors(file), _open(file) as stream:
        return _shape(file, stream)


def read_idx(file: Path) -> np.ndarray:
    """Return the array in an IDX file, uint8, read-only, cached; ImageError when it is damaged or missing."""
    with _name_errors(file):
        status = file.stat()
    with _read_lock:
        return _read_version(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read_version(file: Path, changed_ns: int, size: int) -> np.ndarray:
    with _name_errors(file), _open(file) as stream:
        shape = _shape(file, stream)
        content = stream.read(math.prod(shape) + 1)
    if len(content) != math.prod(shape):
        raise ImageError(
            f"{file}: {'fewer' if len(content) < math.prod(shape) else 'more'} bytes than the {math.prod(shape)} "
            f"that its header states ({shape}); download the file again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _open(file: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")


def _shape(file: Path, stream: BinaryIO | gzip.GzipFile) -> tuple[int, ...]:
    start = stream.read(4)
    dimensions = start[3] if len(start) == 4 else 0
    sizes = stream.read(4 * dimensions)
    if start[:3] != bytes((0, 0, _BYTES)) or not 1 <= dimensions <= 3 or len(sizes) != 4 * dimensions:
        raise ImageError(f"{file}: not an IDX file of bytes (it starts with {start.hex(' ') or 'nothing'})")
    shape = tuple(int(side) for side in np.frombuffer(sizes, ">u4"))
    if math.prod(shape) > _MAX_BYTES:
        raise ImageError(f"{file}: its header states {math.prod(shape):,} bytes; expected at most {_MAX_BYTES:,}")
    return shape


@contextlib.contextmanager
def _name_errors(file: Path) -> Iterator[None]:
    """Turn errors of a file into an ImageError with its name."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ImageError(f"{file}: damaged or truncated ({error}); download the file again") from None
    except OSError as error:
        raise ImageError(f"{file}: cannot be read ({error.strerror}); check the file") from None
