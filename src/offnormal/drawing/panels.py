"""One scored image side by side: as it is, under its heat map, its defect marked, and as a detector rebuilds it."""

from __future__ import annotations

import base64
import colorsys
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from offnormal.drawing.overlay import draw_contour, line_width, overlay

_GOLDEN = 0.618034  # of a turn: hues of numbers that follow each other lie far apart, however many there are
_BRIGHTER = 3  # differences are small
_NAMED = 4  # items whose shares are told


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reconstruction:
    """One frame as a detector expects it."""

    frame: np.ndarray  # (H, W, 3) uint8
    items: np.ndarray | None = None  # (h, w) number of the memory item recalled at each place; None: it has no memory

    def difference(self, image: np.ndarray) -> np.ndarray:
        """How much each pixel of the image (H, W, 3) uint8 differs from it, brightened."""
        gap = np.abs(image.astype(np.int16) - self.frame) * _BRIGHTER
        return np.asarray(gap.clip(0, 255), np.uint8)

    def mosaic(self) -> np.ndarray:
        """(h, w, 3) uint8, a color for each item."""
        assert self.items is not None
        colors = [colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.65, 0.9) for number in range(int(self.items.max()) + 1)]
        return np.asarray((np.array(colors)[self.items] * 255).round(), np.uint8)

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


_SIDE = 400  # pixels of the longer side in a report: sharp at the width of a column, some 15 kB each
_MARK = (64, 224, 208)  # turquoise: far from every color of the heat map
_QUALITY = 84


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the images side by side, and what it shows."""

    caption: str
    image: Image.Image


def build_panels(
    image: np.ndarray,
    noun: str,
    *,
    map: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    reconstruction: Reconstruction | None = None,
    threshold: float | None,
    low: float,
    high: float,
    side: int = _SIDE,
) -> list[Panel]:
    """The image, its heat map with the contour at `threshold`, its outlined mask, its reconstruction; what there is.

    Everything is resized to `side` pixels on the longer side before lines are drawn, so that they stay crisp.
    noun: what the image is. low, high: ends of the color scale, as for `overlay`.
    """
    photo = _sized(image, side)
    panels = [Panel(noun, photo)]
    if map is not None:
        resized = np.asarray(Image.fromarray(map.astype(np.float32)).resize(photo.size, Image.Resampling.BILINEAR))
        heat = overlay(np.asarray(photo), resized, threshold=threshold, low=low, high=high)
        panels.append(Panel("heat map", heat))
    if mask is not None and mask.any():
        panels.append(Panel("marked region", _outlined(photo, mask)))
    if reconstruction is not None:
        panels.append(Panel("reconstruction", _sized(reconstruction.frame, side)))
        panels.append(Panel("difference, brightened", _sized(reconstruction.difference(image), side)))
        if reconstruction.items is not None:
            mosaic = Image.fromarray(reconstruction.mosaic()).resize(photo.size, Image.Resampling.NEAREST)
            panels.append(Panel(reconstruction.shares(), mosaic))
    return panels


def to_data_uri(image: Image.Image, side: int = _SIDE) -> str:
    """An image as a data: URI (WebP), at most `side` pixels on the longer side, to stand in one HTML file."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _sized(image: np.ndarray, side: int) -> Image.Image:
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


def _outlined(photo: Image.Image, mask: np.ndarray) -> Image.Image:
    """The image with the border of its mask (H, W), at any size, drawn just outside what is marked."""
    outlined = photo.copy()
    marked = Image.fromarray(mask.astype(np.float32)).resize(photo.size, Image.Resampling.BOX)
    draw_contour(outlined, np.asarray(marked), 0.25, width=line_width(photo.height, photo.width), line=_MARK)
    return outlined
