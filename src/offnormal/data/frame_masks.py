"""Reads the masks of a video, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from offnormal.data.array_files import Archive, read_mat, read_npy
from offnormal.data.box_masks import draw_boxes, read_boxes
from offnormal.errors import DataError, counted
from offnormal.sources.image import image_size
from offnormal.sources.mask import open_mask
from offnormal.sources.pages import pages_in
from offnormal.sources.paths import images_in
from offnormal.types import MaskSource


class FrameMasks:
    """Masks of T frames: `masks[i]` is (H, W) bool, True for anomalous pixels; cannot be read after it was closed."""

    def __init__(self, count: int, read_mask: Callable[[int], np.ndarray]) -> None:
        self._count = count
        self._read_mask: Callable[[int], np.ndarray] | None = read_mask  # takes 0 to count - 1; None: closed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if self._read_mask is None:
            raise ValueError("these masks are closed")
        return self._read_mask(range(self._count)[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read_mask = None  # it holds a mapped file open


def open_masks(source: MaskSource) -> FrameMasks:
    """Open the masks of a source for use in a `with` block.

    A folder and a .npy file are read one frame at a time; a .npz or .mat file is read completely and stored with eight
    pixels per byte; a .txt file contains boxes, see `box_masks`. Raises DataError for a source that is missing,
    damaged, or has another shape.
    """
    suffix = source.path.suffix.lower()
    if source.path.is_dir():
        paths = [page for file in images_in(source.path, recursive=False) for page in pages_in(file)[0]]
        if not paths:
            raise DataError(f"{source.path}: no images; expected one mask per frame")
        return FrameMasks(len(paths), lambda index: open_mask(paths[index]))
    if suffix == ".npz":
        stored = Archive(source.path)
        return _in_memory(stored.read(source.key or _only_name(stored)), source)
    if suffix == ".mat":
        stored_masks = read_mat(source.path, source.key or "volLabel")
        if isinstance(stored_masks, list):
            return _pack_frames(stored_masks, source)
        return _in_memory(stored_masks, source)
    if suffix == ".txt":
        beside = source.path.with_name(source.path.stem.removesuffix("_gt"))  # the clip, if the boxes are beside it
        clip = beside if beside.is_dir() else source.path.parent
        frames = images_in(clip, recursive=False)
        boxes, size = read_boxes(source.path, clip), image_size(frames[0])
        return FrameMasks(len(frames), lambda index: draw_boxes(boxes, index, size))
    if source.size is not None:
        return _in_memory(read_npy(source.path), source)
    mapped = _check_shape(read_npy(source.path, mapped=True), source.path)
    return FrameMasks(len(mapped), lambda index: np.asarray(mapped[index] != 0))


def frame_labels(masks: FrameMasks) -> np.ndarray:
    """Return labels (T,) uint8 of the frames: 1 if any pixel is anomalous, as the UCSD dataset defines them."""
    return np.fromiter((mask.any() for mask in masks), dtype=np.uint8, count=len(masks))


def _unpack_on_read(packed: list[np.ndarray] | np.ndarray, width: int) -> FrameMasks:
    """Masks with eight pixels per byte along the last axis, as `numpy.packbits` writes them."""
    return FrameMasks(len(packed), lambda index: np.unpackbits(packed[index], axis=-1, count=width).view(bool))


def _pack_frames(frames: list[np.ndarray], source: MaskSource) -> FrameMasks:
    """Pack masks (H, W); DataError if their sizes differ or there is none."""
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2:
        raise DataError(f"{source.path}: masks of different shapes; expected one mask (H, W) per frame")
    return _unpack_on_read([np.packbits(np.ascontiguousarray(frame) != 0, axis=-1) for frame in frames], shape[1])


def _in_memory(stored: np.ndarray, source: MaskSource) -> FrameMasks:
    masks = _check_shape(stored, source.path)
    if source.size is None:
        return _unpack_on_read(np.packbits(masks != 0, axis=-1), masks.shape[2])
    height, width = source.size
    if masks.dtype != np.uint8 or masks.shape[1:] != (height, -(-width // 8)):
        raise DataError(
            f"{source.path}: masks of shape {masks.shape} and type {masks.dtype}; expected (T, {height}, "
            f"{-(-width // 8)}) uint8 for packed masks of {height}x{width} pixels"
        )
    return _unpack_on_read(masks, width)


def _check_shape(stored: np.ndarray, path: Path) -> np.ndarray:
    if stored.ndim != 3 or stored.dtype.kind not in "buif":
        raise DataError(f"{path}: masks of shape {stored.shape} and type {stored.dtype}; expected numbers (T, H, W)")
    return stored


def _only_name(stored: Archive) -> str:
    if len(stored.names) != 1:
        raise DataError(f"{stored.path}: {counted(len(stored.names), 'array')}; expected only the masks (T, H, W)")
    return stored.names[0]
