"""Scratches: thin curved grooves, cut by something that slid over the part."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

from offnormal.demo.noise import Field, line_noise
from offnormal.demo.part import free_place
from offnormal.demo.surface import Box, Surface

_STEP = 0.7  # of the path, in pixels of the drawing grid
_THINNEST = 0.6  # half width, in pixels of the drawing grid


def scratch(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Cut one to three scratches into the surface; returns where, (H, W), 1 on a scratch and 0 elsewhere.

    `severity` from 0 to 1 goes from a short hairline to a gouge about as long as the part's radius.
    """
    where = np.zeros_like(surface.cover)
    length = (0.13 + 0.75 * severity) * rng.uniform(0.8, 1.2)
    width = (0.0035 + 0.0080 * severity) * rng.uniform(0.85, 1.15)
    depth = 0.06 + 0.95 * severity
    heading, bend = rng.uniform(0, 2 * pi), rng.normal(0, 1.2)
    x, y = free_place(surface.pose.turn, rng, 0.03)
    _cut(surface, where, rng, _path(surface, rng, x, y, heading, bend, length), width, depth)
    for _ in range(rng.choice(3, p=(0.55, 0.30, 0.15))):
        aside, ahead = rng.normal(0, 0.035), rng.normal(0, 0.1) * length
        beside_x = x - aside * sin(heading) + ahead * cos(heading)
        beside_y = y + aside * cos(heading) + ahead * sin(heading)
        turned, shorter = heading + rng.normal(0, 0.05), length * rng.uniform(0.3, 0.8)
        path = _path(surface, rng, beside_x, beside_y, turned, bend, shorter)
        _cut(surface, where, rng, path, width * rng.uniform(0.6, 0.9), depth * rng.uniform(0.6, 1.0))
    return where


def _path(
    surface: Surface, rng: np.random.Generator, x: float, y: float, heading: float, bend: float, length: float
) -> Field:
    """A curve whose middle is (x, y), (n, 4): place in pixels of the grid and the unit vector across it.

    `bend` is its curvature, in radians a radius; lengths are in radii.
    """
    pose = surface.pose
    count = max(8, int(length * pose.radius / _STEP))
    angle = heading + bend * (np.arange(count) / count - 0.5) * length + 0.03 * line_noise(rng, count, (count / 12,))
    cols, rows = np.cumsum(np.cos(angle)) * _STEP, np.cumsum(np.sin(angle)) * _STEP
    cols += pose.x + x * pose.radius - cols[count // 2]
    rows += pose.y + y * pose.radius - rows[count // 2]
    return np.stack([cols, rows, -np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _cut(surface: Surface, where: Field, rng: np.random.Generator, path: Field, width: float, depth: float) -> None:
    """Cut a groove of half width `width` (radii) along the path and mark it in `where`."""
    count = len(path)
    taper = np.sin(pi * (np.arange(count) + 0.5) / count) ** 0.5
    press = np.clip(1 + 0.35 * line_noise(rng, count, (count / 25 + 1, count / 8 + 1)), 0.35, 1.6)
    half = np.maximum(width * surface.pose.radius * taper * press, _THINNEST).astype(np.float32)
    box, owner = _nearest(path, int(1.6 * half.max()) + 1, where.shape)
    rows, cols = np.nonzero(owner >= 0)
    nearest = path[owner[rows, cols]]
    strength = press.astype(np.float32)[owner[rows, cols]]
    aside = (cols + box[1].start - nearest[:, 0]) * nearest[:, 2] + (rows + box[0].start - nearest[:, 1]) * nearest[
        :, 3
    ]
    across = aside / half[owner[rows, cols]]
    profile = np.maximum(np.exp(-across * across) - np.float32(0.1), 0)
    steep = surface.slope_r[box] ** 2 + surface.slope_t[box] ** 2 > 1  # walls and grooves, which it jumps
    profile *= ~steep[rows, cols]
    flank = np.float32(-2.3 * depth) * strength * across * profile

    def spread(values: Field) -> Field:
        dense = np.zeros(owner.shape, dtype=np.float32)
        dense[rows, cols] = values
        return dense

    surface.bend(box, spread(flank * nearest[:, 2]), spread(flank * nearest[:, 3]))
    surface.rough[box] += spread(np.float32(2.5 * depth) * strength * profile)
    np.maximum(where[box], spread((profile > 0).astype(np.float32)), out=where[box])


def _nearest(path: Field, reach: int, shape: tuple[int, ...]) -> tuple[Box, npt.NDArray[np.intp]]:
    """The box round the path and, (h, w), which point of the path is nearest: -1 further than `reach` pixels."""
    first = np.maximum(path[:, 1::-1].min(axis=0).astype(int) - reach, 0)
    last = np.minimum(path[:, 1::-1].max(axis=0).astype(int) + reach + 2, shape)
    box = slice(int(first[0]), max(first[0], last[0])), slice(int(first[1]), max(first[1], last[1]))
    owner = np.full((box[0].stop - box[0].start, box[1].stop - box[1].start), -1, dtype=np.intp)
    offset = np.arange(-reach, reach + 1)
    cols = path[:, 0].round().astype(np.intp)[:, None, None] + offset[None, None, :]
    rows = path[:, 1].round().astype(np.intp)[:, None, None] + offset[None, :, None]
    far = (cols - path[:, 0, None, None]) ** 2 + (rows - path[:, 1, None, None]) ** 2
    farthest_first = np.argsort(-far, axis=None)  # so that the nearest point is written last
    point, row, col = (
        np.broadcast_to(index, far.shape).ravel()[farthest_first]
        for index in (np.arange(len(path))[:, None, None], rows - box[0].start, cols - box[1].start)
    )
    inside = (row >= 0) & (row < owner.shape[0]) & (col >= 0) & (col < owner.shape[1])
    owner[row[inside], col[inside]] = point[inside]
    return box, owner
