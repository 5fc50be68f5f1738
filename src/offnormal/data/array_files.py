"""Reads arrays from untrusted .npy, .npz, and .mat files without executing anything in them."""

from __future__ import annotations

import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from offnormal.data.mat_process import mat_process
from offnormal.errors import DataError
from offnormal.input_files import check_regular, open_regular

_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DAMAGED = (  # what numpy, zipfile, and the decompressors raise for damaged files
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file; with `mapped` a read-only memory map.

    Raises DataError for a file that is missing, damaged, or contains Python objects.
    """
    with _explain_errors(path), open_regular(path) as file:
        if file.read(2) == b"PK":
            raise DataError(f"{path}: an archive of arrays (.npz); expected a single array (.npy); rename it to .npz")
        file.seek(0)
        _read_header(file, os.fstat(file.fileno()).st_size)
        if mapped:
            return np.lib.format.open_memmap(path, mode="r")
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


class Archive:
    """A .npz file whose arrays are read on demand; DataError as in `read_npy`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explain_errors(path), open_regular(path) as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise DataError(f"{path}: a single array (.npy); expected an archive (.npz); rename it to .npy")
            file.seek(0)
            with zipfile.ZipFile(file) as stored:
                self.names = tuple(name.removesuffix(".npy") for name in stored.namelist())

    def read(self, name: str) -> np.ndarray:
        """Return one array by name."""
        with self._open(name) as (file, _):
            file.seek(0)
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            return array

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array; reads only its header."""
        with self._open(name) as (_, shape):
            return shape

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
        """Yield an array's file and shape."""
        if name not in self.names:
            raise DataError(f"{self.path}: no array {name!r}; the file contains {', '.join(self.names[:8])}")
        with _explain_errors(self.path), open_regular(self.path) as file, zipfile.ZipFile(file) as stored:
            entry = stored.getinfo(f"{name}.npy" if f"{name}.npy" in stored.namelist() else name)
            with stored.open(entry) as member:
                yield member, _read_header(member, entry.file_size)


def _read_header(file: IO[bytes], size: int) -> tuple[int, ...]:
    """Return the shape in a header; ValueError if the file of `size` bytes cannot hold the values it claims."""
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise ValueError(f"format {version[0]}.{version[1]}, expected 1.0 or 2.0")
    shape, _, dtype = _READ_HEADER[version](file)
    if dtype.hasobject:
        raise ValueError("Python objects")
    claimed, stored = math.prod(shape) * dtype.itemsize, size - file.tell()
    if claimed > stored:
        raise ValueError(f"its header claims {claimed:,} bytes of values; {stored:,} are stored")
    return tuple(shape)


def read_mat(path: Path, key: str) -> np.ndarray | list[np.ndarray]:
    """Return a variable of a MATLAB file: a numeric array with MATLAB's axes, or the list of arrays of a cell array.

    Reads files of MATLAB 4 to 7.2 and of 7.3 (HDF5, with reversed axes), in a child process that a damaged file may
    crash. Cells are in MATLAB's order. Raises DataError for a file that is missing or damaged, or that has no such
    variable or another type of content.
    """
    with _explain_errors(path):
        check_regular(path)
    return mat_process().read(path, key)


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DataError:
        raise
    except OSError as error:
        if error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        raise DataError(f"{path}: damaged ({error})") from None
    except _DAMAGED as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: contains Python objects, which can run code when they are loaded. If you trust the file, "
                "convert it once: values = numpy.load(FILE, allow_pickle=True); for labels: numpy.save(FILE, "
                "numpy.concatenate([numpy.ravel(v) for v in values]).astype('uint8')); for masks: one file per video"
            ) from None
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: damaged, or its suffix is wrong ({reason})") from None
