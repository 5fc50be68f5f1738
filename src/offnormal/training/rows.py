"""Where decoded frames and pictures are kept while they are trained on: in memory, or in a file mapped into it."""

from __future__ import annotations

import contextlib
import mmap
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from offnormal.data.frame_cache import remove_stale
from offnormal.errors import ConfigError


class Rows(ABC):
    """Arrays of one shape (C, H, W), uint8 or float32 each, by number."""

    nbytes = 0

    @abstractmethod
    def add(self, pixels: np.ndarray) -> int:
        """Keep one more; its number. OSError when the disk is full."""

    @abstractmethod
    def __getitem__(self, number: int) -> np.ndarray:
        """The array of a number; not to be changed."""

    def shared_by_all(self) -> None:
        """Hear that every process that is to use them has them."""
        return

    @abstractmethod
    def close(self) -> None:
        """Forget everything."""


class RamRows(Rows):
    """In memory."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def add(self, pixels: np.ndarray) -> int:
        """Keep one more; channels that share their memory, as those of a gray picture do, go on sharing it."""
        gray = len(pixels) > 1 and pixels.strides[0] == 0
        kept = np.broadcast_to(np.ascontiguousarray(pixels[0]), pixels.shape) if gray else np.ascontiguousarray(pixels)
        self.nbytes += kept[0].nbytes if gray else kept.nbytes
        self._arrays.append(kept)
        return len(self._arrays) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self._arrays[number]

    def close(self) -> None:
        """Forget everything."""
        self._arrays, self.nbytes = [], 0


class FileRows(Rows):
    """In a temporary file, mapped into memory: what does not fit is read again from the disk.

    shared: other processes open it, too, after it was pickled to them; it keeps its name until they have. Otherwise it
    has none from the start, so that nothing is left over however the program ends.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.path = folder / f".samples.{secrets.token_hex(8)}.partial"
        self._places: list[tuple[int, np.dtype[np.generic]]] = []
        self._shape: tuple[int, ...] = ()
        self._map: mmap.mmap | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale(folder)
            self._file: BinaryIO = self.path.open("w+b")
        except OSError as error:
            raise ConfigError(
                f"{folder}: no place for samples ({error.strerror}); choose another folder with --cache-dir"
            ) from None
        if not shared:
            self.shared_by_all()

    def add(self, pixels: np.ndarray) -> int:
        """Write one more; before the first is read."""
        self._shape = pixels.shape
        self._places.append((self.nbytes, pixels.dtype))
        self.nbytes += self._file.write(np.ascontiguousarray(pixels).data)
        self._file.flush()  # a full disk is to be known now
        return len(self._places) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, dtype = self._places[number]
        return np.frombuffer(self._map, dtype, int(np.prod(self._shape)), offset).reshape(self._shape)

    def shared_by_all(self) -> None:
        """Take the file's name away."""
        with contextlib.suppress(OSError):  # where an open file cannot lose its name, `close` removes it
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file; arrays that were given stay valid as long as they are used."""
        self._map = None
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def __getstate__(self) -> tuple[Path, list[tuple[int, np.dtype[np.generic]]], tuple[int, ...], int]:
        return self.path, self._places, self._shape, self.nbytes

    def __setstate__(self, state: tuple[Path, list[tuple[int, np.dtype[np.generic]]], tuple[int, ...], int]) -> None:
        self.path, self._places, self._shape, self.nbytes = state
        self._map = None
        self._file = self.path.open("rb")
