"""Heat maps over images: where the map is high, on one color scale for every image of a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError, UsageError

_COLORS = "inferno"  # perceptually even, readable in gray and by the color-blind
_DARKEST = 0.34  # where on it the scale starts: its first third is near black and would only dim the image
_STRONGEST = 0.82  # opacity at the top of the scale
_FAINT = 0.75  # of that opacity, over what moves
_RISE = 0.6  # exponent of the opacity: below 1, so that what nears the threshold can be seen
_CASING, _LINE = (10, 12, 16), (255, 255, 255)  # a white line in a dark one is seen on any ground


def scale_for(calibration: Calibration | None, maps: Sequence[np.ndarray] = ()) -> tuple[float, float]:
    """The ends (low, high) of the color scale for every image of one detector.

    From half the pixel threshold to twice it, so that a color means the same on every image and in every
    report of one calibration. (Of a threshold below 0: from half its size under it to its whole size above; at
    0 the spread of the normal scores stands for the size.) Without a pixel threshold: from the median to the
    99.9th percentile of `maps`, (H, W) each, taken together.

    >>> scale_for(None, [np.full((2, 2), 3.0)])
    (3.0, 6.0)
    """
    if calibration is not None and calibration.pixel_threshold is not None:
        threshold = calibration.pixel_threshold
        size = abs(threshold) or float(np.std(calibration.scores)) or 1.0
        return threshold - size / 2, threshold + size
    if not maps:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(np.concatenate([found.ravel() for found in maps]), (50, 99.9)))
    return low, high if high > low else low + (abs(low) or 1.0)


def overlay(image: np.ndarray, map: np.ndarray, *, threshold: float | None, low: float, high: float) -> Image.Image:
    """An image under its heat map, with a contour where the map crosses the threshold.

    image: (H, W, 3) uint8; map: (H, W), higher = more anomalous. Color and opacity rise from `low` (nothing
    laid over) to `high`; a threshold between them has the middle color. Without a threshold there is no contour.
    Raises DataError for other shapes and UsageError unless low < high.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"image of shape {image.shape} and {image.dtype}: expected (H, W, 3) uint8")
    if map.shape != image.shape[:2]:
        raise DataError(
            f"map of shape {map.shape} for an image of {image.shape[:2]}: bring it to the image's size first"
        )
    if not low < high:
        raise UsageError(f"color scale from {low:g} to {high:g}: expected low < high; take both from scale_for")
    levels = (_scale_position(map, threshold, low, high) * 255).round().astype(np.uint8)
    table = _color_table()
    heat = Image.fromarray(table[levels, :3])
    cover = Image.fromarray(table[levels, 3])
    blended = Image.composite(heat, Image.fromarray(image), cover)
    if threshold is not None:
        draw_contour(blended, map, threshold, width=line_width(*map.shape), line=_LINE)
    return blended


def faint_overlay(
    photo: Image.Image, map: np.ndarray, *, threshold: float | None, low: float, high: float
) -> Image.Image:
    """A frame of a video under its heat map (h, w) of any size; at or below the threshold it stays as it is.

    Quicker and fainter than `overlay`, without a contour: what moves under the heat map is to be seen.
    """
    place = _scale_position(map, threshold, low, high)
    visible = 0.5 if threshold is not None else 0.0
    if place.max() <= visible:
        return photo
    levels = Image.fromarray(np.round(place * 255).astype(np.uint8)).resize(photo.size, Image.Resampling.BILINEAR)
    table = _color_table()
    cover = np.where(np.arange(256) > 255 * visible, _FAINT * table[:, 3], 0).astype(np.uint8)
    heat = levels.copy()
    heat.putpalette(table[:, :3].tobytes())
    return Image.composite(heat.convert("RGB"), photo, levels.point(cover.tolist()))


def gradient(steps: int = 16) -> list[tuple[int, int, int, float]]:
    """The color scale from low to high as (red, green, blue, opacity 0-1), for a legend.

    The threshold lies in its middle.
    """
    rows = _color_table()[np.linspace(0, 255, steps).round().astype(int)]
    return [(int(red), int(green), int(blue), round(int(cover) / 255, 3)) for red, green, blue, cover in rows]


def _scale_position(map: np.ndarray, threshold: float | None, low: float, high: float) -> NDArray[np.float64]:
    """Where on the scale each value of a map (any shape) lies, 0-1.

    Even from low to the threshold at 0.5, and on from there to high; even all the way without a threshold between.
    """
    if threshold is None or not low < threshold < high:
        return np.asarray(np.interp(map, (low, high), (0.0, 1.0)))
    return np.asarray(np.interp(map, (low, threshold, high), (0.0, 0.5, 1.0)))


@cache
def _color_table() -> NDArray[np.uint8]:
    """The color scale (256, 4) as red, green, blue and opacity, each 0-255, from its low end to its high one."""
    from matplotlib import colormaps

    place = np.linspace(0, 1, 256)
    colors = np.asarray(colormaps[_COLORS](_DARKEST + (1 - _DARKEST) * place))
    colors[:, 3] = _STRONGEST * place**_RISE
    return np.asarray((colors * 255).round(), dtype=np.uint8)


def line_width(height: int, width: int) -> float:
    """Width in pixels of a line that is seen on an image of this size without hiding it.

    >>> line_width(256, 256), line_width(3000, 4000)
    (2.0, 12.0)
    """
    return max(2.0, min(height, width) / 250)


def draw_contour(
    image: Image.Image, field: np.ndarray, level: float, *, width: float, line: tuple[int, int, int]
) -> None:
    """Draw onto `image` the line along which `field` (H, W) crosses `level`; regions at the border are closed.

    width: of the line, in pixels; it is cased in a dark one of half as much again on either side.
    """
    lines = _contours(field, level)
    if not lines:
        return
    fine = 4 if image.width * image.height <= 2_000_000 else 2
    for thickness, color in ((2 * width, _CASING), (width, line)):
        stroke = Image.new("L", (fine * image.width, fine * image.height))
        pen = ImageDraw.Draw(stroke)
        for points in lines:
            corners = [(float(x), float(y)) for x, y in (points + 0.5) * fine]
            pen.line(corners, fill=255, width=max(1, round(fine * thickness)), joint="curve")
        image.paste(color, (0, 0), stroke.resize(image.size, Image.Resampling.BOX))


def _contours(field: np.ndarray, level: float) -> list[NDArray[np.float64]]:
    """Lines (P, 2) of x and y in pixels, a pixel's center at whole numbers."""
    from contourpy import contour_generator

    peak = float(field.max())
    if peak <= level:
        return []
    padded = np.pad(field.astype(np.float64), 1, constant_values=2 * level - peak)
    lines = [np.asarray(points) - 1 for points in contour_generator(z=padded).lines(level)]
    last = np.array(field.shape[::-1]) - 1.0
    return [points.clip(0, last) for points in lines if len(points) > 2]
