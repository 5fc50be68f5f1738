"""The masks of a video's frames, one frame at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from offnormal.data.array_files import Archive, read_mat, read_npy
from offnormal.errors import DataError
from offnormal.sources.image import open_mask
from offnormal.sources.paths import images_in
from offnormal.types import MaskSource


class FrameMasks(ABC):
    """Masks of T frames: `masks[i]` is (H, W) bool, True on anomalous pixels."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> np.ndarray: ...  # from 0; IndexError after the last

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> FrameMasks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what was opened."""


def open_masks(source: MaskSource) -> FrameMasks:
    """The masks behind a source, to be used in a `with` block.

    Of a folder one picture, of a .npy one frame is read at a time; what lies in a .npz or .mat is read whole and kept
    with eight pixels a byte. Raises DataError for a source that is missing, damaged or of another shape.
    """
    suffix = source.path.suffix.lower()
    if source.path.is_dir():
        return _PictureMasks(source.path)
    if suffix == ".npz":
        stored = Archive(source.path)
        return _in_memory(stored.read(source.key or _only_name(stored)), source)
    if suffix == ".mat":
        found = read_mat(source.path, source.key or "volLabel")
        return _PackedMasks.of_frames(found, source) if isinstance(found, list) else _in_memory(found, source)
    if source.size is not None:
        return _in_memory(read_npy(source.path), source)
    return _ArrayMasks(read_npy(source.path, mapped=True), source.path)


def frame_labels(masks: FrameMasks) -> np.ndarray:
    """Labels (T,) uint8 of the frames: 1 where any pixel is anomalous, as the UCSD data set defines them."""
    return np.fromiter((mask.any() for mask in masks), dtype=np.uint8, count=len(masks))


class _PictureMasks(FrameMasks):
    def __init__(self, folder: Path) -> None:
        self._paths = images_in(folder, recursive=False)
        if not self._paths:
            raise DataError(f"{folder}: no picture in it; expected one mask a frame")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return open_mask(self._paths[index])


class _ArrayMasks(FrameMasks):
    def __init__(self, stored: np.ndarray, path: Path) -> None:
        self._stored: np.ndarray | None = _three_axes(stored, path)

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self._open()[index] != 0)

    def close(self) -> None:
        """Let go of the file, which a mapped array keeps open."""
        self._stored = None

    def _open(self) -> np.ndarray:
        if self._stored is None:
            raise ValueError("these masks were closed")
        return self._stored


class _PackedMasks(FrameMasks):
    """Eight pixels a byte along the last axis, as `numpy.packbits` writes them."""

    def __init__(self, packed: list[np.ndarray] | np.ndarray, width: int) -> None:
        self._packed = packed
        self._width = width

    @classmethod
    def of_frames(cls, frames: list[np.ndarray], source: MaskSource) -> FrameMasks:
        """Masks (H, W) each, packed; DataError when their sizes differ or there is none."""
        shapes = {frame.shape for frame in frames}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 2:
            raise DataError(f"{source.path}: {len(frames)} masks of unequal shapes; expected one (H, W) for each frame")
        return cls([np.packbits(np.ascontiguousarray(frame) != 0, axis=-1) for frame in frames], shape[1])

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.unpackbits(self._packed[index], axis=-1, count=self._width).view(bool)


def _in_memory(stored: np.ndarray, source: MaskSource) -> FrameMasks:
    masks = _three_axes(stored, source.path)
    if source.size is None:
        return _PackedMasks(np.packbits(masks != 0, axis=-1), masks.shape[2])
    height, width = source.size
    if masks.dtype != np.uint8 or masks.shape[1:] != (height, -(-width // 8)):
        raise DataError(
            f"{source.path}: masks {masks.shape} of {masks.dtype}; packed masks of {height} x {width} pixels are "
            f"(T, {height}, {-(-width // 8)}) of uint8"
        )
    return _PackedMasks(masks, width)


def _three_axes(stored: np.ndarray, path: Path) -> np.ndarray:
    if stored.ndim != 3 or stored.dtype.kind not in "buif":
        raise DataError(f"{path}: masks of shape {stored.shape} and type {stored.dtype}; expected numbers (T, H, W)")
    return stored


def _only_name(stored: Archive) -> str:
    if len(stored.names) != 1:
        raise DataError(f"{stored.path}: {len(stored.names)} arrays; expected the masks (T, H, W) alone")
    return stored.names[0]
