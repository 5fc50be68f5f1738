"""Panels of one scored image: the image, its heat map, the marked defect, and the detector's reconstruction."""

from __future__ import annotations

import base64
import colorsys
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from offnormal.drawing.overlay import draw_contour, line_width, overlay
from offnormal.drawing.wording import score

_GOLDEN = 0.618034  # hue step in turns: consecutive numbers get distant hues, for any count
_GAIN = 3  # factor that makes small differences visible
_MAX_ITEMS = 4  # items that are listed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reconstruction:
    """One frame as a detector reconstructs it."""

    frame: np.ndarray  # (H, W, 3) uint8
    items: np.ndarray | None = None  # (h, w) recalled memory item at each position; None: no memory

    def difference(self, image: np.ndarray) -> np.ndarray:
        """Return the amplified difference of an image (H, W, 3) uint8 to the reconstruction."""
        scaled = np.abs(image.astype(np.int16) - self.frame) * _GAIN
        return np.asarray(scaled.clip(0, 255), np.uint8)

    def mosaic(self) -> np.ndarray:
        """Return (h, w, 3) uint8 with one color per item."""
        assert self.items is not None
        colors = [colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.65, 0.9) for number in range(int(self.items.max()) + 1)]
        return np.asarray((np.array(colors)[self.items] * 255).round(), np.uint8)

    def shares(self) -> str:
        """Describe the items that were recalled most.

        >>> Reconstruction(frame=np.zeros((1, 1, 3), np.uint8), items=np.array([[3, 3], [3, 7]])).shares()
        'memory items: 3 (75 %), 7 (25 %)'
        """
        assert self.items is not None
        numbers, counts = np.unique(self.items, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MAX_ITEMS]
        item_shares = ", ".join(f"{numbers[index]} ({100 * counts[index] / self.items.size:.0f} %)" for index in order)
        return f"memory items: {item_shares}"


_SIDE = 400  # pixels of the longer side in a report: sharp at the column width, about 15 kB each
_MARK = (64, 224, 208)  # turquoise: unlike any color of the heat map
_QUALITY = 84


@dataclass(frozen=True, slots=True)
class Panel:
    """One image with its caption."""

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
    """Build the panels: the image, the heat map with the contour at `threshold`, the outlined mask, the reconstruction.

    Images are resized to `side` pixels on the longer side before lines are drawn, so that lines stay sharp.
    noun: caption of the image. low, high: ends of the color scale, as for `overlay`.
    """
    photo = _resize(image, side)
    panels = [Panel(noun, photo)]
    if map is not None:
        resized = np.asarray(Image.fromarray(map.astype(np.float32)).resize(photo.size, Image.Resampling.BILINEAR))
        heat = overlay(np.asarray(photo), resized, threshold=threshold, low=low, high=high)
        panels.append(Panel("heat map" if resized.max() > low else f"heat map: all below {score(low)}", heat))
    if mask is not None and mask.any():
        panels.append(Panel("marked region", _draw_outline(photo, mask)))
    if reconstruction is not None:
        panels.append(Panel("reconstruction", _resize(reconstruction.frame, side)))
        panels.append(Panel("difference, brightened", _resize(reconstruction.difference(image), side)))
        if reconstruction.items is not None:
            mosaic = Image.fromarray(reconstruction.mosaic()).resize(photo.size, Image.Resampling.NEAREST)
            panels.append(Panel(reconstruction.shares(), mosaic))
    return panels


def to_data_uri(image: Image.Image, side: int = _SIDE) -> str:
    """Encode an image as a data: URI (WebP), at most `side` pixels on the longer side."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _resize(image: np.ndarray, side: int) -> Image.Image:
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


def _draw_outline(photo: Image.Image, mask: np.ndarray) -> Image.Image:
    """Draw the border of a mask (H, W) of any size just outside the marked region."""
    outlined = photo.copy()
    marked = Image.fromarray(mask.astype(np.float32)).resize(photo.size, Image.Resampling.BOX)
    draw_contour(outlined, np.asarray(marked), 0.25, width=line_width(photo.height, photo.width), line=_MARK)
    return outlined
