"""What a detector makes of a frame, as pictures: the frame, what differs, and the memory items that it recalled."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

_GOLDEN = 0.618034  # of a turn: hues of numbers that follow each other lie far apart, however many there are
_BRIGHTER = 3  # differences are small
_NAMED = 4  # items whose shares are told


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reconstruction:
    """One frame as a detector expects it."""

    frame: np.ndarray  # (H, W, 3) uint8
    items: np.ndarray | None = None  # (h, w) number of the memory item recalled at each place; None: it has no memory

    def difference(self, image: np.ndarray) -> np.ndarray:
        """How much each pixel of the picture (H, W, 3) uint8 differs from it, brightened."""
        gap = np.abs(image.astype(np.int16) - self.frame) * _BRIGHTER
        return np.asarray(gap.clip(0, 255), np.uint8)

    def mosaic(self) -> np.ndarray:
        """(h, w, 3) uint8, a colour for each item."""
        assert self.items is not None
        colours = [colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.65, 0.9) for number in range(int(self.items.max()) + 1)]
        return np.asarray((np.array(colours)[self.items] * 255).round(), np.uint8)

    def shares(self) -> str:
        """The items that were recalled most, in words.

        >>> Reconstruction(frame=np.zeros((1, 1, 3), np.uint8), items=np.array([[3, 3], [3, 7]])).shares()
        'memory items: 3 (75 %), 7 (25 %)'
        """
        assert self.items is not None
        numbers, counts = np.unique(self.items, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_NAMED]
        told = ", ".join(
            f"{numbers[place]} ({counts[place] / self.items.size:.0%})".replace("%", " %") for place in order
        )
        return f"memory items: {told}"
