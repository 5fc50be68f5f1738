"""Random fields and soft steps for drawing textures."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Field: TypeAlias = npt.NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Draw smooth noise of `shape` (H, W), about unit variance, with features `1 / cells` of the image wide."""
    low = rng.standard_normal((cells, cells), dtype=np.float32)
    height, width = shape
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def line_noise(rng: np.random.Generator, length: int, widths: tuple[float, ...]) -> Field:
    """Draw noise (length,) of unit variance: the sum of white noise smoothed over each of `widths` samples."""
    total = np.zeros(length)
    for width in widths:
        reach = max(1, round(3 * width))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        white = rng.standard_normal(length + 2 * reach)
        total += np.convolve(white, kernel / np.sqrt((kernel**2).sum()), mode="valid")
    return np.asarray(total / np.sqrt(len(widths)), dtype=np.float32)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """Rise smoothly from 0 at `low` to 1 at `high`; fall if `low` is above `high`.

    >>> smoothstep(2, 4, np.float32([1, 3, 5])).tolist()
    [0.0, 0.5, 1.0]
    """
    t = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return np.asarray(t * t * (np.float32(3.0) - np.float32(2.0) * t), dtype=np.float32)


def halve(field: Field) -> Field:
    """Average 2 x 2 blocks: (H, W) to (H / 2, W / 2), sides even.

    >>> halve(np.float32([[0, 4], [0, 0]])).tolist()
    [[1.0]]
    """
    return (field[::2, ::2] + field[1::2, ::2] + field[::2, 1::2] + field[1::2, 1::2]) * np.float32(0.25)


def double(field: Field) -> Field:
    """Repeat every value as a 2 x 2 block: (H, W) to (2 H, 2 W)."""
    return field.repeat(2, axis=0).repeat(2, axis=1)


def mix(field: Field, value: Field | float, weight: Field) -> None:
    """Blend `field` with `value` in place: unchanged where `weight` is 0, replaced where it is 1."""
    field += weight * (value - field)
