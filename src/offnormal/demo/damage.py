"""Damage to a part: scratches, holes, stains, and missing pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

from offnormal.demo.noise import Field, halve, line_noise, mix, smooth_noise, smoothstep
from offnormal.demo.part import BOLT_CHAMFER, BOLT_COUNT, bolt_holes, build, draw_flat_point
from offnormal.demo.surface import Box, Coating, Pose, Surface, Window

_UNDRILLED = 0.3  # share of missing pieces that are an undrilled bolt hole
_PATH_STEP = 0.7  # step along the path of a scratch, in pixels of the drawing grid
_MIN_HALF_WIDTH = 0.6  # half width of a scratch, in pixels of the drawing grid
_BURR = 1.35  # outer radius of the raised rim, in radii of the hole
_MIN_HOLE_RADIUS = 1.2  # in pixels of the drawing grid; a smaller hole could miss every pixel
_MIN_VISIBLE = 0.04  # the mask covers pixels where the coating absorbs at least this share of some color
_ANGLES = 256  # around the center of a bite, for its outline


def make_part(
    pose: Pose,
    size: int,
    turning: np.random.Generator,
    damage: np.random.Generator,
    defect: str | None,
    severity: float,
) -> tuple[Surface, npt.NDArray[np.bool_]]:
    """Build the part, damaged if `defect` is set, and the mask of the damage (size, size)."""
    shape = (2 * size, 2 * size)
    if defect is None:
        return build(pose, shape, turning), np.zeros((size, size), dtype=np.bool_)
    if defect == "missing_piece" and damage.random() < _UNDRILLED:
        index = int(damage.integers(BOLT_COUNT))
        surface = build(pose, shape, turning, undrilled=index)
        mask = _undrilled_hole(surface, index)
    else:
        surface = build(pose, shape, turning)
        metal = surface.cover > 0
        mask = _DAMAGE[defect](surface, damage, severity) * metal
    share = halve(mask)
    return surface, share >= 0.25


def _scratch(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Cut one to three scratches into the surface; return their mask (H, W), 1 on a scratch, else 0.

    severity: 0 is a short hairline, 1 a gouge about as long as the part's radius.
    """
    mask = np.zeros_like(surface.cover)
    length = (0.13 + 0.75 * severity) * rng.uniform(0.8, 1.2)
    width = (0.0035 + 0.0080 * severity) * rng.uniform(0.85, 1.15)
    depth = 0.06 + 0.95 * severity
    heading, bend = rng.uniform(0, 2 * pi), rng.normal(0, 1.2)
    x, y = draw_flat_point(surface.pose.turn, rng, 0.03)
    _cut(surface, mask, rng, _path(surface, rng, x, y, heading, bend, length), width, depth)
    for _ in range(rng.choice(3, p=(0.55, 0.30, 0.15))):
        aside, along = rng.normal(0, 0.035), rng.normal(0, 0.1) * length
        path_x = x - aside * sin(heading) + along * cos(heading)
        path_y = y + aside * cos(heading) + along * sin(heading)
        path_heading, path_length = heading + rng.normal(0, 0.05), length * rng.uniform(0.3, 0.8)
        path = _path(surface, rng, path_x, path_y, path_heading, bend, path_length)
        _cut(surface, mask, rng, path, width * rng.uniform(0.6, 0.9), depth * rng.uniform(0.6, 1.0))
    return mask


def _path(
    surface: Surface, rng: np.random.Generator, x: float, y: float, heading: float, bend: float, length: float
) -> Field:
    """Draw a curve around (x, y) as (n, 4): position in grid pixels, and the unit normal.

    bend: curvature in radians per radius. Lengths are in radii.
    """
    pose = surface.pose
    count = max(8, int(length * pose.radius / _PATH_STEP))
    angle = heading + bend * (np.arange(count) / count - 0.5) * length + 0.03 * line_noise(rng, count, (count / 12,))
    cols, rows = np.cumsum(np.cos(angle)) * _PATH_STEP, np.cumsum(np.sin(angle)) * _PATH_STEP
    cols += pose.x + x * pose.radius - cols[count // 2]
    rows += pose.y + y * pose.radius - rows[count // 2]
    return np.stack([cols, rows, -np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _cut(surface: Surface, mask: Field, rng: np.random.Generator, path: Field, width: float, depth: float) -> None:
    """Cut a groove of half width `width` (radii) along the path and mark it in `mask`."""
    count = len(path)
    taper = np.sin(pi * (np.arange(count) + 0.5) / count) ** 0.5
    press = np.clip(1 + 0.35 * line_noise(rng, count, (count / 25 + 1, count / 8 + 1)), 0.35, 1.6)
    half = np.maximum(width * surface.pose.radius * taper * press, _MIN_HALF_WIDTH).astype(np.float32)
    box, owner = _nearest(path, int(1.6 * half.max()) + 1, mask.shape)
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
    np.maximum(mask[box], spread((profile > 0).astype(np.float32)), out=mask[box])


def _nearest(path: Field, reach: int, shape: tuple[int, ...]) -> tuple[Box, npt.NDArray[np.intp]]:
    """Return the box around the path, and the nearest path point per pixel (h, w); -1 beyond `reach` pixels."""
    first = np.maximum(path[:, 1::-1].min(axis=0).astype(int) - reach, 0)
    last = np.minimum(path[:, 1::-1].max(axis=0).astype(int) + reach + 2, shape)
    box = slice(int(first[0]), max(first[0], last[0])), slice(int(first[1]), max(first[1], last[1]))
    owner = np.full((box[0].stop - box[0].start, box[1].stop - box[1].start), -1, dtype=np.intp)
    offset = np.arange(-reach, reach + 1)
    cols = path[:, 0].round().astype(np.intp)[:, None, None] + offset[None, None, :]
    rows = path[:, 1].round().astype(np.intp)[:, None, None] + offset[None, :, None]
    distance = (cols - path[:, 0, None, None]) ** 2 + (rows - path[:, 1, None, None]) ** 2
    farthest_first = np.argsort(-distance, axis=None)  # the nearest point is written last
    point, row, col = (
        np.broadcast_to(index, distance.shape).ravel()[farthest_first]
        for index in (np.arange(len(path))[:, None, None], rows - box[0].start, cols - box[1].start)
    )
    inside = (row >= 0) & (row < owner.shape[0]) & (col >= 0) & (col < owner.shape[1])
    owner[row[inside], col[inside]] = point[inside]
    return box, owner


def _hole(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Drill a hole (or, at random, an irregular pit) into a flat face; return its mask (H, W).

    severity: 0 is a pinhole, 1 more than half the width of a bolt hole.
    """
    radius = max((0.008 + 0.042 * severity) * rng.uniform(0.9, 1.1), _MIN_HOLE_RADIUS / surface.pose.radius)
    x, y = draw_flat_point(surface.pose.turn, rng, _BURR * radius + 0.01)
    window = surface.window(x, y, _BURR * radius + 0.02)
    box, rho = window.box, window.rho
    pore = rng.random() < 0.4
    if pore:
        rho = rho * (1 + np.float32(0.18) * smooth_noise(rng, rho.shape, 3))
    outwards_x, outwards_y = window.x / window.rho, window.y / window.rho
    burr = surface.edge(_BURR * radius - rho)
    raised = np.float32((0.3 if pore else 0.8) * (0.05 + 0.85 * severity))
    surface.tilt(box, 0.35 * outwards_x, 0.35 * outwards_y, burr * raised)
    inside = surface.edge(radius - rho)
    shape = np.minimum(rho / np.float32(radius), 1)
    steep = -np.float32(0.1 + 1.8 * severity) * shape**2
    surface.tilt(box, steep * outwards_x, steep * outwards_y, inside)
    floor = np.float32(0.90 - 0.87 * severity**0.7)
    mix(surface.reflect[box], floor * (1 + shape**2), inside)
    mix(surface.rough[box], 1.8, inside)
    mask = np.zeros_like(surface.cover)
    mask[box] = burr > 0.5
    return mask


@dataclass(frozen=True)
class _StainType:
    """A stain: absorption of red, green, and blue at thickness 1, cloudiness, and darkening of the dried edge."""

    absorption: tuple[float, float, float]
    cloud: float
    edge_darkening: float


_STAIN_TYPES = (
    _StainType((0.85, 1.15, 1.70), cloud=0.12, edge_darkening=0.9),  # oil
    _StainType((0.48, 1.12, 2.10), cloud=0.45, edge_darkening=0.1),  # rust
    _StainType((1.15, 1.10, 1.02), cloud=0.30, edge_darkening=0.3),  # grease with swarf
)


def _stain(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Stain the part with a coating that has a soft irregular edge; return the mask of its visible area (H, W).

    severity: 0 is a faint spot the size of a bolt hole, 1 a dark patch over a third of the face.
    """
    stain_type = _STAIN_TYPES[rng.integers(len(_STAIN_TYPES))]
    reach = (0.07 + 0.20 * severity) * rng.uniform(0.85, 1.15)
    strength = np.float32((0.08 + 0.95 * severity**1.2) * rng.uniform(0.85, 1.15))
    window = surface.window(*draw_flat_point(surface.pose.turn, rng, 0.03), 2.2 * reach)
    box, shape = window.box, window.rho.shape
    distance = _puddle(window, rng, reach)
    body = smoothstep(1.0, 1.0 - rng.uniform(0.10, 0.35), distance)
    ring = smoothstep(0.60, 0.92, distance)
    cloud = smooth_noise(rng, shape, 9) + np.float32(0.8) * smooth_noise(rng, shape, 32)
    thickness = strength * body * (np.float32(0.75) + np.float32(stain_type.edge_darkening) * ring)
    thickness *= np.clip(1 + np.float32(stain_type.cloud) * cloud, 0.2, 2.0) * (surface.cover[box] > 0)
    surface.coating = Coating(np.zeros_like(surface.cover), stain_type.absorption)
    surface.coating.thickness[box] = thickness
    surface.rough[box] += np.float32(0.5) * np.minimum(thickness, 1)
    mask = np.zeros_like(surface.cover)
    mask[box] = 1 - np.exp(-thickness * np.float32(max(stain_type.absorption))) > _MIN_VISIBLE
    return mask


def _puddle(window: Window, rng: np.random.Generator, reach: float) -> Field:
    """Return the relative distance (h, w) of pixels, 1 at the ragged edge: one puddle and a few splashes."""
    lean, stretch = rng.uniform(0, pi), np.float32(rng.uniform(1.0, 1.5))
    along = window.x * np.float32(cos(lean)) + window.y * np.float32(sin(lean))
    aside = window.y * np.float32(cos(lean)) - window.x * np.float32(sin(lean))
    distance = np.sqrt((along / stretch) ** 2 + (aside * stretch) ** 2) / np.float32(reach)
    for cells, strength in ((3, 0.22), (7, 0.16), (17, 0.07)):
        distance += np.float32(strength) * smooth_noise(rng, distance.shape, cells)
    for _ in range(rng.integers(0, 6)):
        bearing, size = rng.uniform(0, 2 * pi), rng.uniform(0.06, 0.16) * reach
        out = rng.uniform(1.1, 1.7) * reach
        drop_x, drop_y = np.float32(out * cos(bearing)), np.float32(out * sin(bearing))
        distance = np.minimum(distance, np.sqrt((window.x - drop_x) ** 2 + (window.y - drop_y) ** 2) / np.float32(size))
    return np.asarray(distance, dtype=np.float32)


def _broken_rim(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Break a chunk off the rim, so that the mat is visible; return the mask of the bite (H, W).

    severity: 0 is a nick in the rim's chamfer, 1 a bite that may reach a bolt hole.
    """
    bite = (0.022 + 0.175 * severity) * rng.uniform(0.85, 1.15)
    curve = bite * rng.uniform(1.2, 2.6) + 0.03
    ledge = rng.uniform(0.012, 0.020) + 0.025 * severity
    bearing = rng.uniform(0, 2 * pi)
    distance = 1 + curve - bite  # distance of the center of the bite, a ragged circle of radius `curve`
    window = surface.window(distance * cos(bearing), distance * sin(bearing), 1.5 * curve + 2.5 * ledge)
    box = window.box
    ragged = 0.085 * line_noise(rng, _ANGLES, (9.0, 20.0)) + 0.012 * line_noise(rng, _ANGLES, (2.0,))
    outline = np.float32(curve) * (1 + np.clip(ragged, -0.5 * bite / curve, 0.45).astype(np.float32))
    angle = np.mod(np.arctan2(window.y, window.x) - np.float32(bearing), np.float32(2 * pi))
    depth = outline.take((angle * np.float32(_ANGLES / (2 * pi))).astype(np.intp), mode="clip") - window.rho
    facets, grain = smooth_noise(rng, depth.shape, 7), smooth_noise(rng, depth.shape, 50)
    broken = surface.edge(depth + np.float32(ledge) * np.clip(1 + np.float32(0.6) * facets, 0, 2.5))
    steep = np.float32(0.9) + np.float32(0.35) * facets + np.float32(0.15) * grain
    surface.tilt(box, -steep * window.x / window.rho, -steep * window.y / window.rho, broken)
    mix(surface.reflect[box], np.clip(np.float32(0.42) + np.float32(0.13) * grain, 0.1, 1), broken)
    mix(surface.rough[box], 3.0, broken)
    mask = np.zeros_like(surface.cover)
    mask[box] = broken > 0.5
    surface.cover[box] *= 1 - surface.edge(depth)
    return mask


def _undrilled_hole(surface: Surface, index: int) -> Field:
    """Return the mask (H, W) of the area where bolt hole `index` and its chamfer should be."""
    window = surface.window(*bolt_holes(surface.pose.turn)[index], BOLT_CHAMFER + 0.02)
    mask = np.zeros_like(surface.cover)
    mask[window.box] = window.rho < BOLT_CHAMFER
    return mask


_DAMAGE: dict[str, Callable[[Surface, np.random.Generator, float], Field]] = {
    "hole": _hole,
    "missing_piece": _broken_rim,
    "scratch": _scratch,
    "stain": _stain,
}
DEFECTS = tuple(_DAMAGE)
