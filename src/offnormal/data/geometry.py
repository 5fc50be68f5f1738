"""Where each pixel of a picture of any size lands in the detector's rectangle, and the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from PIL import Image

from offnormal.types import InputSpec, Interpolation, Resize

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_GREY = 0.5  # of full scale, around a letterboxed picture


@dataclass(frozen=True, slots=True)
class Placement:
    """Target pixel (y, x) shows pixel (y + top, x + left) of the picture scaled to `scaled`."""

    scaled: tuple[int, int]  # (H, W)
    top: int
    left: int


def fixed_size(sizes: Sequence[tuple[int, int]], side: int, *, multiple: int) -> tuple[int, int]:
    """The rectangle of about side x side pixels with the median aspect of the pictures.

    sizes: (H, W) of the training pictures; both sides of the result are multiples of `multiple`. Where one side
    would be shorter than that, the other is held so that the area stays.

    >>> fixed_size([(100, 200)] * 3, 256, multiple=32)
    (192, 352)
    """
    aspect = median(width / height for height, width in sizes)
    longest = side * side / multiple
    height, width = (min(side * stretch, longest) for stretch in (1 / math.sqrt(aspect), math.sqrt(aspect)))
    return max(multiple, round(height / multiple) * multiple), max(multiple, round(width / multiple) * multiple)


def place(size: tuple[int, int], spec: InputSpec) -> Placement:
    """How a picture of `size` (H, W) is placed in the rectangle of the specification."""
    height, width = spec.size
    if spec.resize.policy in ("median_aspect", "stretch"):
        return Placement(spec.size, 0, 0)
    if spec.resize.policy == "short_side":
        scale = (spec.resize.short_side or 0) / min(size)
    else:
        scale = min(height / size[0], width / size[1])
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return Placement(scaled, (scaled[0] - height) // 2, (scaled[1] - width) // 2)


def resize(image: Image.Image, spec: InputSpec, *, mask: bool = False) -> Image.Image:
    """The picture in the rectangle of the specification; masks by nearest neighbour with zeros outside."""
    placement = place((image.height, image.width), spec)
    scaled = _scale(image, placement.scaled, Resize(interpolation="nearest") if mask else spec.resize)
    if placement.scaled == spec.size:
        return scaled
    height, width = spec.size
    box = (placement.left, placement.top, placement.left + width, placement.top + height)
    if min(placement.top, placement.left) >= 0:
        return scaled.crop(box)
    grey: float | tuple[int, ...] = _GREY if image.mode == "F" else (round(255 * _GREY),) * len(image.getbands())
    canvas = Image.new(image.mode, (width, height), 0 if mask else grey)
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
    """A map (H, W) at input size -> float32 map at the picture's own size; zero where the picture was cropped."""
    placement = place(size, spec)
    canvas = np.zeros(placement.scaled, np.float32)
    height, width = spec.size
    top, left = max(placement.top, 0), max(placement.left, 0)
    skip_y, skip_x = max(-placement.top, 0), max(-placement.left, 0)
    part = values[skip_y : skip_y + placement.scaled[0], skip_x : skip_x + placement.scaled[1]]
    canvas[top : top + min(height, part.shape[0]), left : left + min(width, part.shape[1])] = part
    image = Image.fromarray(canvas).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)
