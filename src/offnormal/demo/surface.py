"""The surface of a part: where it is metal, its tilt, and its reflectance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from offnormal.demo.noise import Field, mix

Box: TypeAlias = tuple[slice, slice]  # rows and columns of an image

_STRIP = 32  # rows


@dataclass(frozen=True)
class Pose:
    """The pose of a part: center and outer radius in pixels of the drawing grid, turn in radians."""

    x: float
    y: float
    radius: float
    turn: float


@dataclass(frozen=True)
class Coating:
    """A layer of liquid or rust on the part.

    thickness: (H, W) over the drawing grid, 0 where clean. absorption: of red, green, and blue at thickness 1, as
    exponents.
    """

    thickness: Field
    absorption: tuple[float, float, float]


@dataclass(frozen=True)
class Window:
    """A rectangle `box` of the drawing grid, with coordinates relative to a point of the part.

    x: (1, w) and y: (h, 1), in radii of the part along the image's axes. rho: (h, w), distance from the point.
    """

    box: Box
    x: Field
    y: Field
    rho: Field


@dataclass
class Surface:
    """Fields over the drawing grid, (H, W) float32 with even sides, filled only near the part.

    cover: 1 on metal, 0 on the mat. slope_r, slope_t: tilt of the surface normal outward and along the machining
    marks, which run around the center. reflect: share of reflected light. rough: widens the reflections (1 on turned
    metal).
    """

    pose: Pose
    cover: Field
    slope_r: Field
    slope_t: Field
    reflect: Field
    rough: Field
    coating: Coating | None = None

    @classmethod
    def empty(cls, pose: Pose, shape: tuple[int, int]) -> Surface:
        """Create a grid of `shape` (H, W) without metal."""
        fields = np.zeros((5, *shape), dtype=np.float32)  # one block gets huge pages, which saves milliseconds
        fields[4] = 1
        return cls(pose, *fields)

    def strips(self) -> Iterator[Box]:
        """Yield boxes that together cover the part, with even sides, small enough for the processor's cache."""
        height, width = self.cover.shape
        reach = 1.02 * self.pose.radius
        cols, _ = _span(self.pose.x, reach, width)
        rows, _ = _span(self.pose.y, reach, height)
        even = slice(cols.start // 2 * 2, (cols.stop + 1) // 2 * 2)
        first, last = rows.start // 2 * 2, (rows.stop + 1) // 2 * 2
        for top in range(first, last, _STRIP):
            yield slice(top, min(top + _STRIP, last)), even

    def polar(self, box: Box) -> tuple[Field, Field, Field]:
        """Return distance from the center in radii, and cosine and sine of the outward direction; each (h, w)."""
        rows, cols = box
        radius = np.float32(self.pose.radius)
        x = (np.arange(cols.start, cols.stop, dtype=np.float32)[None, :] - np.float32(self.pose.x)) / radius
        y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(self.pose.y)) / radius
        distance = np.sqrt(x * x + y * y) + np.float32(1e-4)
        return distance, x / distance, y / distance

    def window(self, x: float, y: float, reach: float) -> Window:
        """Return the rectangle within `reach` of the point (x, y), in radii from the part's center."""
        height, width = self.cover.shape
        radius = self.pose.radius
        cols, xs = _span(self.pose.x + x * radius, reach * radius, width)
        rows, ys = _span(self.pose.y + y * radius, reach * radius, height)
        across, down = xs[None, :] / np.float32(radius), ys[:, None] / np.float32(radius)
        return Window((rows, cols), across, down, np.sqrt(across * across + down * down) + np.float32(1e-5))

    def edge(self, signed: Field) -> Field:
        """Return 1 where `signed` (radii) is positive and 0 where negative, softened over one pixel of the grid."""
        soft = signed * np.float32(self.pose.radius) + np.float32(0.5)
        return np.asarray(np.clip(soft, 0.0, 1.0), dtype=np.float32)

    def tilt(self, box: Box, slope_x: Field, slope_y: Field, weight: Field) -> None:
        """Blend the tilt of a rectangle with one along the image's axes; `weight` 1 replaces it."""
        _, cos, sin = self.polar(box)
        mix(self.slope_r[box], cos * slope_x + sin * slope_y, weight)
        mix(self.slope_t[box], cos * slope_y - sin * slope_x, weight)

    def bend(self, box: Box, slope_x: Field, slope_y: Field) -> None:
        """Add a tilt along the image's axes to that of a rectangle."""
        _, cos, sin = self.polar(box)
        self.slope_r[box] += cos * slope_x + sin * slope_y
        self.slope_t[box] += cos * slope_y - sin * slope_x


def halved(box: Box) -> Box:
    """Return the same box, with even sides, in an image of half the size."""
    rows, cols = box
    return slice(rows.start // 2, rows.stop // 2), slice(cols.start // 2, cols.stop // 2)


def _span(center: float, half: float, length: int) -> tuple[slice, Field]:
    """Return the pixels within `half` of `center` on one axis, and their offsets from it."""
    first = min(max(0, int(center - half)), length)
    last = max(min(length, int(center + half) + 2), first)
    return slice(first, last), np.arange(first, last, dtype=np.float32) - np.float32(center)
