"""Resizes images of any size to the input size, and maps back to the original size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from offnormal.errors import ImageError
from offnormal.sources.deep import UNIT, DeepImage
from offnormal.sources.image import Decoded, open_image, reading_notes, to_channels
from offnormal.sources.once_log import OnceLog
from offnormal.sources.privacy import paint_image
from offnormal.types import Frame, InputSpec, Interpolation, Resize

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_GRAY = 0.5  # of full scale, padding of a letterboxed image


@dataclass(frozen=True, slots=True)
class Placement:
    """Target pixel (y, x) is pixel (y + top, x + left) of the image after scaling to `scaled`."""

    scaled: tuple[int, int]  # (H, W)
    top: int
    left: int


def median_aspect_size(sizes: Sequence[tuple[int, int]], side: int, *, multiple: int) -> tuple[int, int]:
    """Return the size (H, W) of about side * side pixels that has the median aspect ratio of the images.

    sizes: (H, W) of the training images. Both sides of the result are multiples of `multiple`. If one side would be
    shorter than that, the other is limited so that the area stays the same.

    >>> median_aspect_size([(100, 200)] * 3, 256, multiple=32)
    (192, 352)
    """
    aspect = median(width / height for height, width in sizes)
    longest = side * side / multiple
    height, width = (min(side * stretch, longest) for stretch in (1 / math.sqrt(aspect), math.sqrt(aspect)))
    return max(multiple, round(height / multiple) * multiple), max(multiple, round(width / multiple) * multiple)


def compute_placement(size: tuple[int, int], spec: InputSpec) -> Placement:
    """Compute how an image of `size` (H, W) is placed in the input size."""
    height, width = spec.size
    if spec.resize.policy in ("median_aspect", "stretch"):
        return Placement(spec.size, 0, 0)
    if spec.resize.policy == "short_side":
        scale = (spec.resize.short_side or 0) / min(size)
    else:
        scale = min(height / size[0], width / size[1])
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return Placement(scaled, (scaled[0] - height) // 2, (scaled[1] - width) // 2)


def resize(image: Image.Image, spec: InputSpec) -> Image.Image:
    """Resize an image to the input size."""
    placement = compute_placement((image.height, image.width), spec)
    scaled = _scale(image, placement.scaled, spec.resize)
    if placement.scaled == spec.size:
        return scaled
    height, width = spec.size
    box = (placement.left, placement.top, placement.left + width, placement.top + height)
    if min(placement.top, placement.left) >= 0:
        return scaled.crop(box)
    gray: float | tuple[int, ...] = _GRAY if image.mode == "F" else (round(255 * _GRAY),) * len(image.getbands())
    canvas = Image.new(image.mode, (width, height), gray)
    canvas.paste(scaled, (-placement.left, -placement.top))
    return canvas


def _scale(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    height, width = size
    if image.size == (width, height):
        return image
    if resize.antialias or resize.interpolation == "nearest":
        return image.resize((width, height), _FILTERS[resize.interpolation])
    steps = (image.width / width, 0, 0, 0, image.height / height, 0)
    return image.transform((width, height), Image.Transform.AFFINE, steps, _FILTERS[resize.interpolation])


def restore_size(values: np.ndarray, size: tuple[int, int], spec: InputSpec) -> np.ndarray:
    """A map (H, W) at input size -> float32 map at the original size of the image; zero where it was cropped."""
    placement = compute_placement(size, spec)
    canvas = np.zeros(placement.scaled, np.float32)
    height, width = spec.size
    top, left = max(placement.top, 0), max(placement.left, 0)
    skip_y, skip_x = max(-placement.top, 0), max(-placement.left, 0)
    visible = values[skip_y : skip_y + placement.scaled[0], skip_x : skip_x + placement.scaled[1]]
    canvas[top : top + min(height, visible.shape[0]), left : left + min(width, visible.shape[1])] = visible
    image = Image.fromarray(canvas).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


def read_pixels(path: Path, spec: InputSpec, notes: OnceLog | None = None) -> np.ndarray:
    """Read an image as (C, H, W) uint8, or float32 in 0-1 for deep images; ImageError names an unreadable file.

    notes: logs how an image that differs in depth from the training images is read.
    """
    image = open_image(path, at_least=_minimum_size(spec), max_pixels=spec.max_pixels)
    try:
        if notes is not None:
            for note in reading_notes(image, spec.levels):
                notes.warn(path, note)
        return to_pixels(image, spec)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def to_pixels(image: Decoded, spec: InputSpec) -> np.ndarray:
    """Mask and resize an image: (C, H, W) uint8, or float32 in 0-1 if deep; ImageError for values out of range."""
    return _to_input(to_channels(image, spec.channels, levels=spec.levels), spec)


def frame_pixels(frame: Frame, spec: InputSpec) -> np.ndarray:
    """Mask and resize a frame of a video as `to_pixels` does, in its full depth."""
    if frame.deep is not None:
        return _to_input(DeepImage(frame.deep).scaled(spec.channels, UNIT), spec)
    return to_pixels(Image.fromarray(frame.image), spec)


def _to_input(colors: Image.Image | np.ndarray, spec: InputSpec) -> np.ndarray:
    if isinstance(colors, np.ndarray) and colors.ndim == 3:  # Pillow has no images of several float channels
        bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(colors, -1, 0)]
        return np.stack([_clip(np.asarray(resize(paint_image(band, spec.mask), spec))) for band in bands])
    single = Image.fromarray(colors) if isinstance(colors, np.ndarray) else colors
    pixels = np.asarray(resize(paint_image(single, spec.mask), spec))
    if pixels.ndim == 2:
        return np.broadcast_to(_clip(pixels), (spec.channels, *pixels.shape))
    return pixels.transpose(2, 0, 1)


def _clip(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else pixels.clip(0, 1)


def _minimum_size(spec: InputSpec) -> tuple[int, int] | None:
    """Return the minimum (H, W) for a reduced decoding: twice the resized size; None without antialiasing."""
    if not spec.resize.antialias or spec.resize.interpolation == "nearest":
        return None
    height, width = (spec.resize.short_side,) * 2 if spec.resize.short_side else spec.size
    return 2 * height, 2 * width


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack images (C, H, W) or clips (C, T, H, W), uint8 or float32 in 0-1, as (N, ...) float32 in 0-1."""
    if all(array.dtype == np.uint8 for array in arrays):
        return np.asarray(np.divide(np.stack(arrays), np.float32(255), dtype=np.float32))
    scaled = [array.astype(np.float32) / 255 if array.dtype == np.uint8 else array for array in arrays]
    return np.stack(scaled).astype(np.float32, copy=False)
