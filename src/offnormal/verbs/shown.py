"""Pixels that a detector makes, as people see them."""

from __future__ import annotations

import numpy as np

from offnormal.data.geometry import restore_size
from offnormal.types import InputSpec


def shown(pixels: np.ndarray, size: tuple[int, int], spec: InputSpec) -> np.ndarray:
    """Pixels (C, H, W) in 0-1 at input size -> RGB (H, W, 3) uint8 at the picture's own; black where it was cropped."""
    pictures = np.stack(
        [restore_size(channel, size, spec) for channel in np.broadcast_to(pixels, (3, *pixels.shape[1:]))], -1
    )
    return (pictures * 255).round().astype(np.uint8)
