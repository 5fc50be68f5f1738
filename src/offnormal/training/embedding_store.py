"""Embeddings of videos on disk, for reuse by later fits: one safetensors file each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from offnormal.errors import ConfigError, OffnormalError
from offnormal.files import new_file, sweep

log = logging.getLogger(__name__)

_ARRAYS = ("frames", "times_s", "embeddings")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedClips:
    """One view of all clips of a video."""

    frames: np.ndarray  # (n, T) int64 indices in the video
    times_s: np.ndarray  # (n, T) float64 seconds, NaN without a clock
    embeddings: np.ndarray  # (n, E) float32
    warnings: tuple[str, ...] = ()  # from reading the video; each begins with a name, such as `slow:`


@dataclass(slots=True)
class EmbeddingStore:
    """Stores views of videos by key; `evict` limits the size and keeps the most recently used.

    A damaged entry is computed again. If nothing can be written, for example because the disk is full, one warning is
    logged. Raises ConfigError if the folder cannot be created.
    """

    folder: Path
    limit: int  # bytes
    _has_warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: cannot create the embeddings folder ({error.strerror}); choose another one with "
                "--embeddings-dir, or store no embeddings with --embeddings-gb 0"
            ) from None
        sweep(self.folder)

    def read(self, key: str) -> EmbeddedClips | None:
        """Return the view of a key; None if it is not stored or is damaged."""
        path = self._path(key)
        try:
            with safe_open(path, "numpy") as file:
                metadata = json.loads((file.metadata() or {})["offnormal"])
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            if metadata["key"] != key or metadata["crc"] != _checksum(arrays):
                raise ValueError("checksum mismatch")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            log.warning("%s: damaged embeddings (%s); they are computed again", path, error)
            return None
        return EmbeddedClips(**arrays, warnings=tuple(metadata["warnings"]))

    def write(self, key: str, clips: EmbeddedClips) -> None:
        """Store a view."""
        arrays = {name: np.ascontiguousarray(getattr(clips, name)) for name in _ARRAYS}
        metadata = {"key": key, "crc": _checksum(arrays), "warnings": clips.warnings}
        try:
            with new_file(self._path(key)) as partial:
                save_file(arrays, partial, {"offnormal": json.dumps(metadata)})
        except (OSError, OffnormalError, SafetensorError) as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("%s: cannot store embeddings (%s); the fit continues without it", self.folder, error)

    def evict(self) -> None:
        """Remove the least recently used views above the size limit; must not run while a pass still needs them."""
        entries: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                stats = path.stat()
                entries.append((stats.st_mtime, stats.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):  # a read-only folder
                path.unlink(missing_ok=True)
                total -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.safetensors"


def format_key(**values: object) -> str:
    """Return one text for everything that determines the embeddings."""
    return json.dumps(values, sort_keys=True)


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    total = 0
    for name in _ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(array.data, total)
    return total
