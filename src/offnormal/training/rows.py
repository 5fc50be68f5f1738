"""Storage of decoded frames during training: in memory, or in a memory-mapped file."""

from __future__ import annotations

import contextlib
import mmap
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from offnormal.errors import ConfigError
from offnormal.files import hidden_sibling, sweep


class Rows(ABC):
    """Numbered arrays of one shape (C, H, W), uint8 or float32."""

    nbytes = 0

    @abstractmethod
    def add(self, pixels: np.ndarray) -> int:
        """Store an array; return its number. OSError if the disk is full."""

    @abstractmethod
    def __getitem__(self, number: int) -> np.ndarray:
        """Return the array of a number; read-only."""

    def mark_shared(self) -> None:
        """Called once all processes have opened the storage."""
        return

    @abstractmethod
    def close(self) -> None:
        """Free the storage."""


class RamRows(Rows):
    """Arrays in memory."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def add(self, pixels: np.ndarray) -> int:
        """Store an array; the channels of a gray image keep sharing their memory."""
        gray = len(pixels) > 1 and pixels.strides[0] == 0
        stored = (
            np.broadcast_to(np.ascontiguousarray(pixels[0]), pixels.shape) if gray else np.ascontiguousarray(pixels)
        )
        self.nbytes += stored[0].nbytes if gray else stored.nbytes
        self._arrays.append(stored)
        return len(self._arrays) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self._arrays[number]

    def close(self) -> None:
        """Free the storage."""
        self._arrays, self.nbytes = [], 0


class FileRows(Rows):
    """Arrays in a temporary file that is mapped into memory.

    shared: other processes open the file after unpickling this object, so it keeps its name until `mark_shared`.
    Otherwise the file has no name, so that it disappears when the program ends, even by a kill.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.path = hidden_sibling(folder / "samples", "partial")
        self._offsets: list[tuple[int, np.dtype[np.generic]]] = []
        self._shape: tuple[int, ...] = ()
        self._map: mmap.mmap | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            self._file: BinaryIO = self.path.open("w+b")
        except OSError as error:
            raise ConfigError(
                f"{folder}: cannot create the sample cache ({error.strerror}); choose another folder with --cache-dir"
            ) from None
        if not shared:
            self.mark_shared()

    def add(self, pixels: np.ndarray) -> int:
        """Write an array; only allowed before the first is read."""
        self._shape = pixels.shape
        self._offsets.append((self.nbytes, pixels.dtype))
        self.nbytes += self._file.write(np.ascontiguousarray(pixels).data)
        self._file.flush()  # so that a full disk is noticed now
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, dtype = self._offsets[number]
        return np.frombuffer(self._map, dtype, int(np.prod(self._shape)), offset).reshape(self._shape)

    def mark_shared(self) -> None:
        """Remove the file's name."""
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file; `close` removes it
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file; arrays that are in use stay valid."""
        self._map = None
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def __getstate__(self) -> tuple[Path, list[tuple[int, np.dtype[np.generic]]], tuple[int, ...], int]:
        return self.path, self._offsets, self._shape, self.nbytes

    def __setstate__(self, state: tuple[Path, list[tuple[int, np.dtype[np.generic]]], tuple[int, ...], int]) -> None:
        self.path, self._offsets, self._shape, self.nbytes = state
        self._map = None
        self._file = self.path.open("rb")
