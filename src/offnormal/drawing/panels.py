"""One scored picture side by side: as it is, under its heat map, and with its defect marked."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from offnormal.drawing.overlay import draw_contour, line_width, overlay
from offnormal.drawing.reconstruction import Reconstruction

SIDE = 400  # pixels of the longer side in a report: sharp at the width of a column, some 15 kB each
_MARK = (64, 224, 208)  # turquoise: far from every colour of the heat map
_QUALITY = 84


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the pictures side by side, and what it shows."""

    caption: str
    image: Image.Image


def panels_of(
    image: np.ndarray,
    noun: str,
    *,
    map: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    reconstruction: Reconstruction | None = None,
    threshold: float | None,
    low: float,
    high: float,
    side: int = SIDE,
) -> list[Panel]:
    """The image, its heat map with the contour at `threshold`, its outlined mask, its reconstruction; what there is.

    Everything is resized to `side` pixels on the longer side before lines are drawn, so that they stay crisp.
    noun: what the image is. low, high: ends of the color scale, as for `overlay`.
    """
    photo = _sized(image, side)
    panels = [Panel(noun, photo)]
    if map is not None:
        panels.append(Panel("heat map", _heat(photo, map, threshold, low, high)))
    if mask is not None and mask.any():
        panels.append(Panel("marked region", _outlined(photo, mask)))
    if reconstruction is not None:
        panels.append(Panel("reconstruction", _sized(reconstruction.frame, side)))
        panels.append(Panel("difference, brightened", _sized(reconstruction.difference(image), side)))
        if reconstruction.items is not None:
            mosaic = Image.fromarray(reconstruction.mosaic()).resize(photo.size, Image.Resampling.NEAREST)
            panels.append(Panel(reconstruction.shares(), mosaic))
    return panels


def as_data_uri(image: Image.Image, side: int = SIDE) -> str:
    """A picture as a data: URI (WebP), at most `side` pixels on the longer side, to stand in one HTML file."""
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


def _heat(photo: Image.Image, map: np.ndarray, threshold: float | None, low: float, high: float) -> Image.Image:
    heat = Image.fromarray(map.astype(np.float32)).resize(photo.size, Image.Resampling.BILINEAR)
    return overlay(np.asarray(photo), np.asarray(heat), threshold=threshold, low=low, high=high)


def _outlined(photo: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture with the border of its mask (H, W), at any size, drawn just outside what is marked."""
    outlined = photo.copy()
    marked = Image.fromarray(mask.astype(np.float32)).resize(photo.size, Image.Resampling.BOX)
    draw_contour(outlined, np.asarray(marked), 0.25, width=line_width(photo.height, photo.width), line=_MARK)
    return outlined
