"""Frames of a video at input size, kept in memory or on disk so that they are decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import secrets
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from offnormal.errors import ConfigError
from offnormal.types import InputSpec

log = logging.getLogger(__name__)

RAM_BYTES = 2 << 30
_HEADER_BYTES = 512  # of a .npy file, room for any shape
_STALE_S = 86_400.0  # an unfinished file this old is of a program that was killed


@dataclass(frozen=True, slots=True)
class ResizedFrame:
    """One frame of a video at input size."""

    index: int
    time_s: float | None
    pixels: np.ndarray  # (C, H, W) uint8
    mask: np.ndarray | None = None  # (H, W) bool, never cached


def cache_key(path: Path, spec: InputSpec, *, every_s: float | None = None, fps: float | None = None) -> str:
    """A name for the frames of a video (or folder of frames) as this input lays them.

    It follows the path, size and time of change of every file, those parts of the input that decide on pixels, and
    what decides on which frames there are (every_s) and on their times (fps of a folder).
    """
    files = [path] if not path.is_dir() else sorted(path.iterdir())
    stats = [(file.name, found.st_size, found.st_mtime_ns) for file in files if (found := file.stat())]
    pixels = {key: value for key, value in asdict(spec).items() if key in ("size", "channels", "resize", "bits")}
    if spec.mask is not None:
        pixels["mask"] = asdict(spec.mask)
    text = json.dumps([path.resolve().as_posix(), stats, pixels, every_s, fps], sort_keys=True)
    return f"{path.stem[:40]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"


class RamCache:
    """Videos in memory by `cache_key`, up to a number of bytes; what no longer fits is not kept, which is said once.

    May be used by several threads.
    """

    def __init__(self, limit: int = RAM_BYTES) -> None:
        self.limit = limit
        self._used = 0
        self._videos: dict[str, list[ResizedFrame]] = {}
        self._lock = threading.Lock()
        self._said = False

    def read(self, key: str) -> Iterable[ResizedFrame] | None:
        """All frames of a video, or None when they are not kept."""
        return self._videos.get(key)

    def record(self, key: str) -> _RamRecording:
        """Takes the frames of one video in order; without `commit` at the end nothing of them is kept."""
        return _RamRecording(self, key)

    def take(self, size: int) -> bool:
        """Whether so many more bytes may be used; they then count as used."""
        with self._lock:
            fits = self._used + size <= self.limit
            if fits:
                self._used += size
            elif not self._said:
                self._said = True
                log.warning(
                    "the cache in memory is full (%.1f GB): further videos are decoded anew in every pass; "
                    "a cache on disk has no such limit (--cache disk)",
                    self.limit / 2**30,
                )
            return fits

    def give_back(self, size: int) -> None:
        """Let so many bytes be used by others."""
        with self._lock:
            self._used -= size

    def keep(self, key: str, frames: list[ResizedFrame]) -> None:
        """Keep a whole video."""
        self._videos[key] = frames


class _RamRecording:
    def __init__(self, cache: RamCache, key: str) -> None:
        self._cache = cache
        self._key = key
        self._frames: list[ResizedFrame] | None = []  # None: given up
        self._size = 0

    def add(self, frame: ResizedFrame) -> None:
        if self._frames is None:
            return
        if not self._cache.take(frame.pixels.nbytes):
            self.close()
            return
        self._size += frame.pixels.nbytes
        self._frames.append(ResizedFrame(frame.index, frame.time_s, frame.pixels))

    def commit(self) -> None:
        if self._frames is not None:
            self._cache.keep(self._key, self._frames)
            self._frames, self._size = None, 0

    def close(self) -> None:
        self._cache.give_back(self._size)
        self._frames, self._size = None, 0


class DiskCache:
    """One uncompressed .npy file a video, mapped into memory when it is read.

    A file that is damaged, cut short or not ours is written anew. When nothing can be written, because the disk is
    full for one, that is said once and the videos are read without a cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale(folder)
        except OSError as error:
            raise ConfigError(f"{folder}: no place for a cache ({error.strerror}); choose another folder") from None

    def read(self, key: str) -> Iterable[ResizedFrame] | None:
        """All frames of a video, or None when they are not kept or damaged."""
        path = self.folder / f"{key}.npy"
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            if (rows.dtype.names or ()) != _COLUMNS or rows.ndim != 1:
                raise ValueError("not a cache of frames")
            for row in rows:
                if zlib.crc32(row["pixels"].data) != row["crc"]:
                    raise ValueError(f"frame {row['index']} is not what was written")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            log.warning("%s: damaged cache of frames (%s), written anew", path, error)
            return None
        return _stored(rows)

    def record(self, key: str) -> _DiskRecording:
        """Takes the frames of one video in order; without `commit` at the end nothing of them is kept."""
        return _DiskRecording(self, key)

    def say(self, error: OSError) -> None:
        """Warn, once, that nothing can be written."""
        if not self._said:
            self._said = True
            log.warning("%s: frames cannot be cached there (%s); going on without", self.folder, error.strerror)


def remove_stale(folder: Path) -> None:
    """Remove what programs that were killed a day ago or longer have left in a cache."""
    for partial in folder.glob(".*.partial"):
        if time.time() - partial.stat().st_mtime > _STALE_S:
            partial.unlink(missing_ok=True)


_COLUMNS = ("index", "time_s", "crc", "pixels")


def _stored(rows: np.ndarray) -> Iterator[ResizedFrame]:
    for row in rows:
        time_s = float(row["time_s"])
        yield ResizedFrame(int(row["index"]), None if math.isnan(time_s) else time_s, np.array(row["pixels"]))


class _DiskRecording:
    def __init__(self, cache: DiskCache, key: str) -> None:
        self._cache = cache
        self._path = cache.folder / f"{key}.npy"
        self._partial = cache.folder / f".{key}.{secrets.token_hex(4)}.partial"
        self._file: BinaryIO | None = None
        self._type: np.dtype[np.void] | None = None
        self._count = 0
        self._given_up = False

    def add(self, frame: ResizedFrame) -> None:
        if self._given_up:
            return
        pixels = np.ascontiguousarray(frame.pixels)
        time_s = math.nan if frame.time_s is None else frame.time_s
        try:
            if self._file is None or self._type is None:
                columns = [("index", "<i8"), ("time_s", "<f8"), ("crc", "<u4"), ("pixels", "u1", pixels.shape)]
                self._type = np.dtype(columns)
                self._file = self._partial.open("wb")
                self._file.write(_header(self._type, 0))
            self._file.write(np.array((frame.index, time_s, zlib.crc32(pixels.data), pixels), self._type).tobytes())
            self._count += 1
        except OSError as error:
            self._give_up(error)

    def commit(self) -> None:
        if self._given_up or self._file is None or self._type is None:
            return
        try:
            self._file.seek(0)
            self._file.write(_header(self._type, self._count))
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        self._given_up = True
        with contextlib.suppress(OSError):  # what is still to be written may not fit either
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        self._cache.say(error)
        self.close()


def _header(dtype: np.dtype[np.void], count: int) -> bytes:
    """Of a .npy file (version 1.0), always `_HEADER_BYTES` long, so that the count can be filled in at the end."""
    values = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    room = _HEADER_BYTES - len(np.lib.format.magic(1, 0)) - 2
    return np.lib.format.magic(1, 0) + room.to_bytes(2, "little") + repr(values).ljust(room - 1).encode() + b"\n"


FrameCache = RamCache | DiskCache
