"""One image and its mask -> pixels at input size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.data.geometry import resize
from offnormal.errors import DataError, ImageError
from offnormal.sources.image import open_image, open_mask, to_channels
from offnormal.sources.privacy import paint_picture
from offnormal.types import InputSpec


def read_pixels(path: Path, spec: InputSpec) -> np.ndarray:
    """One image as (C, H, W), uint8, or float32 in 0-1 for deep images; ImageError naming a bad file."""
    image = open_image(path, at_least=_enough(spec))
    try:
        return to_pixels(image, spec)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def to_pixels(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """A decoded image, masked: (C, H, W) uint8, or float32 in 0-1 if deep; ImageError for values out of range."""
    pixels = np.asarray(resize(to_channels(paint_picture(image, spec.mask), spec.channels, bits=spec.bits), spec))
    if pixels.ndim == 2:
        return np.broadcast_to(
            pixels.clip(0, 1) if pixels.dtype != np.uint8 else pixels, (spec.channels, *pixels.shape)
        )
    return pixels.transpose(2, 0, 1)


def _enough(spec: InputSpec) -> tuple[int, int] | None:
    """(H, W) below which no image may be decoded: twice what the filter makes of it; None without antialiasing."""
    if not spec.resize.antialias or spec.resize.interpolation == "nearest":
        return None
    height, width = (spec.resize.short_side,) * 2 if spec.resize.short_side else spec.size
    return 2 * height, 2 * width


def read_mask(path: Path, spec: InputSpec, *, expected: tuple[int, int] | None = None) -> np.ndarray:
    """One mask as (H, W) bool at input size; `open_mask` says what counts as marked.

    expected: (H, W) of the image it belongs to; DataError when the mask has another size.
    """
    marked = open_mask(path)
    if expected is not None and marked.shape != expected:
        raise DataError(
            f"{path}: the mask is {marked.shape[1]} x {marked.shape[0]} pixels, its picture "
            f"{expected[1]} x {expected[0]}; expected the same size"
        )
    return resize_mask(marked, spec)


def resize_mask(marked: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Marked pixels (H, W) bool of an image -> those at input size."""
    return np.asarray(resize(Image.fromarray(marked.astype(np.uint8)), spec, mask=True)) > 0


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Images (C, H, W) or clips (C, T, H, W), uint8 or float32 in 0-1, -> (N, ...) float32 in 0-1."""
    if all(array.dtype == np.uint8 for array in arrays):
        return np.asarray(np.divide(np.stack(arrays), np.float32(255), dtype=np.float32))
    scaled = [array.astype(np.float32) / 255 if array.dtype == np.uint8 else array for array in arrays]
    return np.stack(scaled).astype(np.float32, copy=False)
