"""Heat maps over images, with one color scale for all images of a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError, UsageError

_COLORS = "inferno"  # perceptually uniform, readable in grayscale and for the color-blind
_SCALE_START = 0.34  # on the colormap; its first third is near black and would only darken the image
_MAX_OPACITY = 0.82  # opacity at the top of the scale
_FAINT_SHARE = 0.75  # factor on that opacity for video frames
_OPACITY_EXPONENT = 0.6  # exponent of the opacity: below 1, so that values near the threshold are visible
_CASING, _LINE = (10, 12, 16), (255, 255, 255)  # a white line with a dark casing is visible on any background


def scale_for(calibration: Calibration | None, maps: Sequence[np.ndarray] = ()) -> tuple[float, float]:
    """Return the ends (low, high) of the color scale for all images of one detector.

    With a pixel threshold: from half of it to twice it, so that a color means the same on every image and in every
    report of one calibration. (Below 0: from half its magnitude below it to its magnitude above it; at 0, the
    standard deviation of the normal scores replaces the magnitude.) Without one: from the median to the
    99.9th percentile of all `maps`, (H, W) each.

    >>> scale_for(None, [np.full((2, 2), 3.0)])
    (3.0, 6.0)
    """
    if calibration is not None and calibration.pixel_threshold is not None:
        threshold = calibration.pixel_threshold
        size = abs(threshold) or float(np.std(calibration.scores)) or 1.0
        return threshold - size / 2, threshold + size
    if not maps:
        return 0.0, 1.0
    low, high = (
        float(value) for value in np.percentile(np.concatenate([values.ravel() for values in maps]), (50, 99.9))
    )
    return low, high if high > low else low + (abs(low) or 1.0)


def overlay(image: np.ndarray, map: np.ndarray, *, threshold: float | None, low: float, high: float) -> Image.Image:
    """Overlay the heat map on an image, with a contour where the map crosses the threshold.

    image: (H, W, 3) uint8; map: (H, W), higher = more anomalous. Color and opacity rise from `low` (transparent)
    to `high`; a threshold between them has the middle color. Without a threshold there is no contour.
    Raises DataError for other shapes and UsageError unless low < high.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"image of shape {image.shape} and {image.dtype}; expected (H, W, 3) uint8")
    if map.shape != image.shape[:2]:
        raise DataError(f"map of shape {map.shape}; expected {image.shape[:2]}: resize it to the size of the image")
    if not low < high:
        raise UsageError(f"color scale from {low:g} to {high:g}; expected low < high, as from scale_for")
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
    """Overlay a heat map (h, w) of any size on a video frame; pixels at or below the threshold stay unchanged.

    Faster and fainter than `overlay` and without a contour, so that motion under the heat map stays visible.
    """
    positions = _scale_position(map, threshold, low, high)
    visible = 0.5 if threshold is not None else 0.0
    if positions.max() <= visible:
        return photo
    levels = Image.fromarray(np.round(positions * 255).astype(np.uint8)).resize(photo.size, Image.Resampling.BILINEAR)
    table = _color_table()
    cover = np.where(np.arange(256) > 255 * visible, _FAINT_SHARE * table[:, 3], 0).astype(np.uint8)
    heat = levels.copy()
    heat.putpalette(table[:, :3].tobytes())
    return Image.composite(heat.convert("RGB"), photo, levels.point(cover.tolist()))


def gradient(steps: int = 16) -> list[tuple[int, int, int, float]]:
    """Return the color scale from low to high as (red, green, blue, opacity 0-1); the threshold is in the middle."""
    rows = _color_table()[np.linspace(0, 255, steps).round().astype(int)]
    return [(int(red), int(green), int(blue), round(int(cover) / 255, 3)) for red, green, blue, cover in rows]


def _scale_position(map: np.ndarray, threshold: float | None, low: float, high: float) -> NDArray[np.float64]:
    """Map values (any shape) to 0-1: linear from low to the threshold at 0.5, and from there to high.

    Without a threshold in between, linear from low to high.
    """
    if threshold is None or not low < threshold < high:
        return np.asarray(np.interp(map, (low, high), (0.0, 1.0)))
    return np.asarray(np.interp(map, (low, threshold, high), (0.0, 0.5, 1.0)))


@cache
def _color_table() -> NDArray[np.uint8]:
    """Return the color scale (256, 4): red, green, blue, and opacity, each 0-255, from low to high."""
    from matplotlib import colormaps

    positions = np.linspace(0, 1, 256)
    colors = np.asarray(colormaps[_COLORS](_SCALE_START + (1 - _SCALE_START) * positions))
    colors[:, 3] = _MAX_OPACITY * positions**_OPACITY_EXPONENT
    return np.asarray((colors * 255).round(), dtype=np.uint8)


def line_width(height: int, width: int) -> float:
    """Return the line width in pixels that suits an image of this size.

    >>> line_width(256, 256), line_width(3000, 4000)
    (2.0, 12.0)
    """
    return max(2.0, min(height, width) / 250)


def draw_contour(
    image: Image.Image, field: np.ndarray, level: float, *, width: float, line: tuple[int, int, int]
) -> None:
    """Draw the contour of `field` (H, W) at `level` onto `image`; regions at the border are closed.

    width: line width in pixels; a dark casing adds half of it on each side.
    """
    lines = _contours(field, level)
    if not lines:
        return
    oversampling = 4 if image.width * image.height <= 2_000_000 else 2
    for thickness, color in ((2 * width, _CASING), (width, line)):
        stroke = Image.new("L", (oversampling * image.width, oversampling * image.height))
        draw = ImageDraw.Draw(stroke)
        for points in lines:
            corners = [(float(x), float(y)) for x, y in (points + 0.5) * oversampling]
            draw.line(corners, fill=255, width=max(1, round(oversampling * thickness)), joint="curve")
        image.paste(color, (0, 0), stroke.resize(image.size, Image.Resampling.BOX))


def _contours(field: np.ndarray, level: float) -> list[NDArray[np.float64]]:
    """Return contour lines (P, 2) of x and y in pixels; pixel centers are integers."""
    from contourpy import contour_generator

    peak = float(field.max())
    if peak <= level:
        return []
    padded = np.pad(field.astype(np.float64), 1, constant_values=2 * level - peak)
    lines = [np.asarray(points) - 1 for points in contour_generator(z=padded).lines(level)]
    last = np.array(field.shape[::-1]) - 1.0
    return [points.clip(0, last) for points in lines if len(points) > 2]
