"""Caches resized frames of videos in memory or on disk, so that each video is decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from offnormal.data.masks import MaskCheck
from offnormal.errors import ConfigError
from offnormal.files import hidden_sibling, sweep
from offnormal.types import InputSpec

log = logging.getLogger(__name__)

RAM_BYTES = 2 << 30
_HEADER_BYTES = 512  # of a .npy file, enough for any shape


@dataclass(frozen=True, slots=True)
class ResizedFrame:
    """One frame of a video at input size."""

    index: int
    time_s: float | None
    pixels: np.ndarray  # (C, H, W) uint8, or float32 in 0-1
    mask: np.ndarray | None = None  # (H, W) bool, never cached
    check: MaskCheck | None = None  # of the mask; None: no mask, or an empty one for an image without


def cache_key(path: Path, spec: InputSpec, *, every_s: float | None = None, fps: float | None = None) -> str:
    """Return a unique name for the frames of a video (or folder of frames) at this input size.

    It depends on the path, size, and modification time of every file, on the parts of the input that change pixels, on
    the choice of frames (every_s), and on their times (fps of a folder).
    """
    files = [path] if not path.is_dir() else sorted(path.iterdir())
    stats = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]
    pixels = {key: value for key, value in asdict(spec).items() if key in ("size", "channels", "resize", "levels")}
    if spec.mask is not None:
        pixels["mask"] = asdict(spec.mask)
    text = json.dumps([path.resolve().as_posix(), stats, pixels, every_s, fps], sort_keys=True)
    return f"{path.stem[:40]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"


class RamCache:
    """Caches videos in memory by `cache_key`, up to `limit` bytes; warns once when it is full. Thread-safe."""

    def __init__(self, limit: int = RAM_BYTES) -> None:
        self.limit = limit
        self._used = 0
        self._videos: dict[str, list[ResizedFrame]] = {}
        self._lock = threading.Lock()
        self._has_warned = False

    def read(self, key: str) -> Iterable[ResizedFrame] | None:
        """Return all frames of a video; None: not in the cache."""
        return self._videos.get(key)

    def record(self, key: str) -> _RamRecording:
        """Start to record the frames of one video in order; `commit` at the end stores them."""
        return _RamRecording(self, key)

    def reserve(self, size: int) -> bool:
        """Reserve bytes; False: they do not fit."""
        with self._lock:
            fits = self._used + size <= self.limit
            if fits:
                self._used += size
            elif not self._has_warned:
                self._has_warned = True
                log.warning(
                    "the memory cache is full (%.1f GB); more videos are decoded again in every pass; "
                    "--cache disk has no limit",
                    self.limit / 2**30,
                )
            return fits

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self._used -= size

    def store(self, key: str, frames: list[ResizedFrame]) -> None:
        """Store a whole video."""
        self._videos[key] = frames


class _RamRecording:
    def __init__(self, cache: RamCache, key: str) -> None:
        self._cache = cache
        self._key = key
        self._frames: list[ResizedFrame] | None = []  # None: closed
        self._size = 0

    def add(self, frame: ResizedFrame) -> None:
        if self._frames is None:
            return
        if not self._cache.reserve(frame.pixels.nbytes):
            self.close()
            return
        self._size += frame.pixels.nbytes
        self._frames.append(ResizedFrame(frame.index, frame.time_s, frame.pixels))

    def commit(self) -> None:
        if self._frames is not None:
            self._cache.store(self._key, self._frames)
            self._frames, self._size = None, 0

    def close(self) -> None:
        self._cache.release(self._size)
        self._frames, self._size = None, 0


class DiskCache:
    """Caches each video as one uncompressed .npy file, which is memory-mapped for reading.

    A file that is damaged, truncated, or not from this cache is rewritten. If files cannot be written, for example
    because the disk is full, the cache warns once and the videos are read without it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._has_warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot store a cache ({error.strerror}); choose another folder") from None

    def read(self, key: str) -> Iterable[ResizedFrame] | None:
        """Return all frames of a video; None: not in the cache, or damaged."""
        path = self.folder / f"{key}.npy"
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            if (rows.dtype.names or ()) != _COLUMNS or rows.ndim != 1:
                raise ValueError("not a frame cache")
            for row in rows:
                if zlib.crc32(row["pixels"].data) != row["crc"]:
                    raise ValueError(f"the checksum of frame {row['index']} is wrong")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            log.warning("%s: the frame cache is damaged (%s) and will be rewritten", path, error)
            return None
        return _to_frames(rows)

    def record(self, key: str) -> _DiskRecording:
        """Start to record the frames of one video in order; `commit` at the end stores them."""
        return _DiskRecording(self, key)

    def warn_once(self, error: OSError) -> None:
        """Warn once that frames cannot be written."""
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s: cannot write the frame cache (%s); continuing without it", self.folder, error.strerror)


_COLUMNS = ("index", "time_s", "crc", "pixels")


def _to_frames(rows: np.ndarray) -> Iterator[ResizedFrame]:
    for row in rows:
        time_s = float(row["time_s"])
        yield ResizedFrame(int(row["index"]), None if math.isnan(time_s) else time_s, np.array(row["pixels"]))


class _DiskRecording:
    def __init__(self, cache: DiskCache, key: str) -> None:
        self._cache = cache
        self._path = cache.folder / f"{key}.npy"
        self._partial = hidden_sibling(self._path, "partial")
        self._file: BinaryIO | None = None
        self._type: np.dtype[np.void] | None = None
        self._count = 0
        self._is_closed = False

    def add(self, frame: ResizedFrame) -> None:
        if self._is_closed:
            return
        pixels = np.ascontiguousarray(frame.pixels)
        time_s = math.nan if frame.time_s is None else frame.time_s
        try:
            if self._file is None or self._type is None:
                image = ("pixels", pixels.dtype.str, pixels.shape)
                self._type = np.dtype([("index", "<i8"), ("time_s", "<f8"), ("crc", "<u4"), image])
                self._file = self._partial.open("wb")
                self._file.write(_header(self._type, 0))
            self._file.write(np.array((frame.index, time_s, zlib.crc32(pixels.data), pixels), self._type).tobytes())
            self._count += 1
        except OSError as error:
            self._abort(error)

    def commit(self) -> None:
        if self._is_closed or self._file is None or self._type is None:
            return
        try:
            self._file.seek(0)
            self._file.write(_header(self._type, self._count))
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            self._abort(error)

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):  # the disk may be full for the buffered bytes, too
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _abort(self, error: OSError) -> None:
        self._cache.warn_once(error)
        self.close()


def _header(dtype: np.dtype[np.void], count: int) -> bytes:
    """Return the header of a .npy file (version 1.0), always `_HEADER_BYTES` long, so that it can be overwritten."""
    values = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    length = _HEADER_BYTES - len(np.lib.format.magic(1, 0)) - 2
    return np.lib.format.magic(1, 0) + length.to_bytes(2, "little") + repr(values).ljust(length - 1).encode() + b"\n"


FrameCache = RamCache | DiskCache
