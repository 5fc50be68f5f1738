"""The masks of a video's frames, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from offnormal.data.array_files import Archive, read_mat, read_npy
from offnormal.errors import DataError
from offnormal.sources.image import open_mask
from offnormal.sources.paths import images_in
from offnormal.types import MaskSource


class FrameMasks:
    """Masks of T frames: `masks[i]` is (H, W) bool, True on anomalous pixels; closed, nothing can be read any more."""

    def __init__(self, count: int, read: Callable[[int], np.ndarray]) -> None:
        self._count = count
        self._read: Callable[[int], np.ndarray] | None = read  # of frame 0 to count - 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if self._read is None:
            raise ValueError("these masks were closed")
        return self._read(range(self._count)[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read = None  # which keeps a mapped file open


def open_masks(source: MaskSource) -> FrameMasks:
    """The masks behind a source, to be used in a `with` block.

    Of a folder one picture, of a .npy one frame is read at a time; what lies in a .npz or .mat is read whole and kept
    with eight pixels a byte. Raises DataError for a source that is missing, damaged or of another shape.
    """
    suffix = source.path.suffix.lower()
    if source.path.is_dir():
        paths = images_in(source.path, recursive=False)
        if not paths:
            raise DataError(f"{source.path}: no picture in it; expected one mask a frame")
        return FrameMasks(len(paths), lambda index: open_mask(paths[index]))
    if suffix == ".npz":
        stored = Archive(source.path)
        return _in_memory(stored.read(source.key or _only_name(stored)), source)
    if suffix == ".mat":
        found = read_mat(source.path, source.key or "volLabel")
        return _of_frames(found, source) if isinstance(found, list) else _in_memory(found, source)
    if source.size is not None:
        return _in_memory(read_npy(source.path), source)
    mapped = _three_axes(read_npy(source.path, mapped=True), source.path)
    return FrameMasks(len(mapped), lambda index: np.asarray(mapped[index] != 0))


def frame_labels(masks: FrameMasks) -> np.ndarray:
    """Labels (T,) uint8 of the frames: 1 where any pixel is anomalous, as the UCSD dataset defines them."""
    return np.fromiter((mask.any() for mask in masks), dtype=np.uint8, count=len(masks))


def _packed(packed: list[np.ndarray] | np.ndarray, width: int) -> FrameMasks:
    """Masks with eight pixels a byte along the last axis, as `numpy.packbits` writes them."""
    return FrameMasks(len(packed), lambda index: np.unpackbits(packed[index], axis=-1, count=width).view(bool))


def _of_frames(frames: list[np.ndarray], source: MaskSource) -> FrameMasks:
    """Masks (H, W) each, packed; DataError when their sizes differ or there is none."""
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2:
        raise DataError(f"{source.path}: {len(frames)} masks of unequal shapes; expected one (H, W) for each frame")
    return _packed([np.packbits(np.ascontiguousarray(frame) != 0, axis=-1) for frame in frames], shape[1])


def _in_memory(stored: np.ndarray, source: MaskSource) -> FrameMasks:
    masks = _three_axes(stored, source.path)
    if source.size is None:
        return _packed(np.packbits(masks != 0, axis=-1), masks.shape[2])
    height, width = source.size
    if masks.dtype != np.uint8 or masks.shape[1:] != (height, -(-width // 8)):
        raise DataError(
            f"{source.path}: masks {masks.shape} of {masks.dtype}; packed masks of {height} x {width} pixels are "
            f"(T, {height}, {-(-width // 8)}) of uint8"
        )
    return _packed(masks, width)


def _three_axes(stored: np.ndarray, path: Path) -> np.ndarray:
    if stored.ndim != 3 or stored.dtype.kind not in "buif":
        raise DataError(f"{path}: masks of shape {stored.shape} and type {stored.dtype}; expected numbers (T, H, W)")
    return stored


def _only_name(stored: Archive) -> str:
    if len(stored.names) != 1:
        raise DataError(f"{stored.path}: {len(stored.names)} arrays; expected the masks (T, H, W) alone")
    return stored.names[0]
