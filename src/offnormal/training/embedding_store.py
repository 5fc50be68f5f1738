"""Embeddings of videos on disk, so that a further fit need not compute them again: one safetensors file each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from offnormal.errors import ConfigError, OffnormalError
from offnormal.files import new_file

log = logging.getLogger(__name__)

_ARRAYS = ("frames", "times_s", "embeddings")
_STALE_S = 86_400.0  # an unfinished file this old is of a program that was killed


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedClips:
    """One view of all clips of a video."""

    frames: np.ndarray  # (n, T) int64 indices in the video
    times_s: np.ndarray  # (n, T) float64 seconds, NaN without a clock
    embeddings: np.ndarray  # (n, E) float32
    warnings: tuple[str, ...] = ()  # of reading it, each begins with a name, such as `slow:`


@dataclass(slots=True)
class EmbeddingStore:
    """Keeps views of videos by a key; `tidy` leaves those used last, up to a number of bytes.

    An entry that is damaged or not ours is computed anew. When nothing can be written, because the disk is full for
    one, that is said once. Raises ConfigError when the folder cannot be made.
    """

    folder: Path
    limit: int  # bytes
    _said: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: no place for embeddings ({error.strerror}); choose another folder with "
                "--embeddings-dir, or keep none with --embeddings-gb 0"
            ) from None
        for partial in self.folder.glob(".*.partial*"):
            with contextlib.suppress(OSError):  # another program may be quicker
                if time.time() - partial.stat().st_mtime > _STALE_S:
                    partial.unlink()

    def read(self, key: str) -> EmbeddedClips | None:
        """The view of that key; None when it is not kept or damaged."""
        path = self._path(key)
        try:
            with safe_open(path, "numpy") as file:
                noted = json.loads((file.metadata() or {})["offnormal"])
                found = {name: file.get_tensor(name) for name in _ARRAYS}
            if noted["key"] != key or noted["crc"] != _sum(found):
                raise ValueError("not what was written")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            log.warning("%s: damaged embeddings (%s), computed anew", path, error)
            return None
        return EmbeddedClips(**found, warnings=tuple(noted["warnings"]))

    def write(self, key: str, clips: EmbeddedClips) -> None:
        """Keep a view."""
        arrays = {name: np.ascontiguousarray(getattr(clips, name)) for name in _ARRAYS}
        noted = {"key": key, "crc": _sum(arrays), "warnings": clips.warnings}
        try:
            with new_file(self._path(key)) as partial:
                save_file(arrays, partial, {"offnormal": json.dumps(noted)})
        except (OSError, OffnormalError, SafetensorError) as error:
            if not self._said:
                self._said = True
                log.warning("%s: embeddings cannot be kept there (%s); going on without", self.folder, error)

    def tidy(self) -> None:
        """Forget those used longest ago where there are too many bytes; not while a pass still counts on them."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                kept.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):  # a folder that may be read alone
                path.unlink(missing_ok=True)
                total -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.safetensors"


def key_of(**what: object) -> str:
    """One text of everything that decides on embeddings."""
    return json.dumps(what, sort_keys=True)


def _sum(arrays: Mapping[str, np.ndarray]) -> int:
    total = 0
    for name in _ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(array.data, total)
    return total
