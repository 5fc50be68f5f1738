"""The normal part: a turned steel flange with a raised hub, a bore, six bolt holes, and a laser-marked part number."""

from __future__ import annotations

from math import cos, hypot, pi, sin

import numpy as np

from offnormal.demo.noise import Field, double, line_noise, mix, smooth_noise, smoothstep
from offnormal.demo.surface import Pose, Surface, halved

_TEXT = "DN40"
_GLYPHS = {
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "N": ("#...#", "##..#", "##..#", "#.#.#", "#..##", "#..##", "#...#"),
    "4": ("...#.", "..##.", ".#.#.", "#..#.", "#####", "...#.", "...#."),
    "0": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
}
_PITCH = 0.018  # distance of dots, in radii of the part
_DOT = 0.62  # radius of a dot, in pitches: neighboring dots merge
_FINE = 6  # samples of the stencil per pitch
_INK = 0.50  # share of the light that a burnt dot absorbs


def mark(surface: Surface, bearing: float, distance: float) -> None:
    """Burn the part number into the surface, centered at `bearing` (radians) and `distance` (radii)."""
    stencil = _stencil()
    height, width = stencil.shape
    window = surface.window(distance * cos(bearing), distance * sin(bearing), _PITCH * width / _FINE / 2 + 0.03)
    x, y = window.x + np.float32(distance * cos(bearing)), window.y + np.float32(distance * sin(bearing))
    turned = np.mod(np.arctan2(y, x) - np.float32(bearing - pi), np.float32(2 * pi)) - np.float32(pi)
    across = turned * np.float32(distance * _FINE / _PITCH) + np.float32(width / 2)
    down = (np.float32(distance) - np.sqrt(x * x + y * y)) * np.float32(_FINE / _PITCH) + np.float32(height / 2)
    column, row = np.clip(across, 0, width - 1).astype(np.intp), np.clip(down, 0, height - 1).astype(np.intp)
    surface.reflect[window.box] *= 1 - np.float32(_INK) * stencil[row, column]


def _stencil() -> Field:
    """Return how burnt the metal is, 0 to 1, sampled at `_FINE` samples per pitch, with a clean margin."""
    height, width = 10 * _FINE, (6 * len(_TEXT) + 2) * _FINE
    down = (np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)) / _FINE - 2
    across = (np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)) / _FINE - 2
    burnt = np.zeros((height, width), dtype=np.float32)
    for letter_index, letter in enumerate(_TEXT):
        for row, line in enumerate(_GLYPHS[letter]):
            for column, dot in enumerate(line):
                if dot == "#":
                    at = (row, letter_index * 6 + column)
                    dot_box = (
                        slice(at[0] * _FINE, (at[0] + 4) * _FINE),
                        slice(at[1] * _FINE, (at[1] + 4) * _FINE),
                    )
                    square = (down[dot_box[0]] - at[0]) ** 2 + (across[:, dot_box[1]] - at[1]) ** 2
                    burnt[dot_box] += np.exp(square * np.float32(-1 / _DOT**2))
    return np.minimum(burnt, 1)


# Lengths are in radii of the part.
BORE = 0.270
BORE_CHAMFER = 0.298
HUB = 0.490
HUB_CHAMFER = 0.512
FILLET = 0.545
RIM_CHAMFER = 0.962
BOLT_CIRCLE = 0.757
BOLT_COUNT = 6
BOLT_HOLE = 0.082
BOLT_CHAMFER = 0.103
DEPTH = 0.075  # share by which perspective shrinks the underside

_DUST = 7  # mean number of grains per part
_WALL = 1.9  # tilt of a wall, viewed nearly edge-on
_SAMPLES = 1600  # number of samples of a radial profile
_REACH = 1.1  # end of a radial profile


def bolt_holes(turn: float) -> list[tuple[float, float]]:
    """Return the centers (x, y) of the bolt holes, in radii from the center of a part turned by `turn` radians."""
    angles = [turn + 2 * pi * k / BOLT_COUNT for k in range(BOLT_COUNT)]
    return [(BOLT_CIRCLE * cos(a), BOLT_CIRCLE * sin(a)) for a in angles]


def draw_flat_point(turn: float, rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """Draw a point (x, y) on a flat face of a part turned by `turn`, at least `reach` from every edge; in radii."""
    while True:
        low, high = (FILLET, RIM_CHAMFER) if rng.random() < 0.75 else (BORE_CHAMFER, HUB)
        distance, bearing = rng.uniform(low + reach, high - reach), rng.uniform(0, 2 * pi)
        x, y = distance * cos(bearing), distance * sin(bearing)
        if all(hypot(x - bolt_x, y - bolt_y) > BOLT_CHAMFER + reach for bolt_x, bolt_y in bolt_holes(turn)):
            return x, y


def build(pose: Pose, shape: tuple[int, int], rng: np.random.Generator, undrilled: int | None = None) -> Surface:
    """Build a part with random machining marks on a grid of `shape` (H, W); `undrilled` omits that bolt hole."""
    surface = _turn_part(pose, shape, rng)
    for index, (x, y) in enumerate(bolt_holes(pose.turn)):
        if index != undrilled:
            _drill(surface, x, y)
    mark(surface, pose.turn - pi / 2, BOLT_CIRCLE)
    for _ in range(rng.poisson(_DUST)):
        _add_dust(surface, rng)
    return surface


def _add_dust(surface: Surface, rng: np.random.Generator) -> None:
    """Add one grain of dust to the part: a faint speck, darker or lighter, not a defect."""
    size = rng.uniform(0.003, 0.008)
    bearing, distance = rng.uniform(0, 2 * pi), rng.uniform(BORE, 1)
    window = surface.window(distance * cos(bearing), distance * sin(bearing), 3 * size)
    speck = np.exp(-((window.rho / np.float32(size)) ** 2))
    surface.reflect[window.box] *= 1 + np.float32(rng.uniform(-0.28, 0.22)) * speck


def _drill(surface: Surface, x: float, y: float) -> None:
    """Cut a bolt hole at (x, y): its chamfer, the wall that perspective reveals, and the mat below."""
    window = surface.window(x, y, BOLT_CHAMFER + 0.02)
    at = window.box
    inward_x, inward_y = -window.x / window.rho, -window.y / window.rho
    ring = surface.edge(BOLT_CHAMFER - window.rho)
    surface.tilt(at, 0.50 * inward_x, 0.50 * inward_y, ring)
    mix(surface.reflect[at], 0.92, ring)
    mix(surface.rough[at], 1.6, ring)
    wall = surface.edge(BOLT_HOLE - window.rho)
    surface.tilt(at, _WALL * inward_x, _WALL * inward_y, wall)
    mix(surface.reflect[at], 0.30, wall)
    floor = np.hypot(window.x + np.float32(DEPTH * x), window.y + np.float32(DEPTH * y))
    surface.cover[at] *= 1 - wall * surface.edge(BOLT_HOLE * (1 - DEPTH) - floor)


def _turn_part(pose: Pose, shape: tuple[int, int], rng: np.random.Generator) -> Surface:
    """Build the part as it leaves the lathe: rings only, no bolt holes."""
    pixel = _SAMPLES / _REACH / pose.radius
    slope, sheen, faces = _profile(pixel)
    depth = np.float32(rng.uniform(0.05, 0.085))
    marks = [depth * faces * line_noise(rng, _SAMPLES, (0.7 * pixel, 2.2 * pixel)) for _ in range(3)]
    sheen = sheen * (1 + np.float32(0.022) * faces * line_noise(rng, _SAMPLES, (5 * pixel, 22 * pixel)))
    half = shape[0] // 2, shape[1] // 2
    share, patina = smooth_noise(rng, half, 9), smooth_noise(rng, half, 24)
    base_slope, slope_change = slope + marks[1], marks[0] - marks[1]
    surface = Surface.empty(pose, shape)
    for at in surface.strips():
        distance, _, _ = surface.polar(at)
        ring = (distance * np.float32(_SAMPLES / _REACH)).astype(np.intp)
        blend = double(smoothstep(-0.8, 0.8, share[halved(at)]))
        surface.cover[at] = surface.edge(np.minimum(1 - distance, distance - np.float32(BORE * (1 - DEPTH))))
        surface.slope_r[at] = base_slope.take(ring, mode="clip") + slope_change.take(ring, mode="clip") * blend
        surface.slope_t[at] = marks[2].take(ring, mode="clip") * (np.float32(0.4) * blend - np.float32(0.2))
        surface.reflect[at] = sheen.take(ring, mode="clip") * double(1 + np.float32(0.02) * patina[halved(at)])
    return surface


def _profile(pixel: float) -> tuple[Field, Field, Field]:
    """Return the turned shape along a radius: outward tilt, reflectance, and 1 on flat faces; each (samples,).

    pixel: width of a pixel of the drawing grid in samples; corners are rounded over it.
    """
    r = np.linspace(0, _REACH, _SAMPLES)
    slope = np.zeros(_SAMPLES)
    sheen = np.full(_SAMPLES, 0.86)
    slope[r < BORE_CHAMFER], sheen[r < BORE_CHAMFER] = -0.50, 1.0
    slope[r < BORE], sheen[r < BORE] = -_WALL, 0.30
    hub = (r >= BORE_CHAMFER) & (r < HUB)
    sheen[hub] = 0.97
    chamfer = (r >= HUB) & (r < HUB_CHAMFER)
    slope[chamfer], sheen[chamfer] = 0.46, 1.0
    fillet = (r >= HUB_CHAMFER) & (r < FILLET)
    rise = (FILLET - r[fillet]) / (FILLET - HUB_CHAMFER)
    slope[fillet], sheen[fillet] = 1.5 * rise, 0.86 - 0.52 * rise
    face = (r >= FILLET) & (r < RIM_CHAMFER)
    sheen[face] -= 0.20 * np.exp(-(r[face] - FILLET) / 0.035)  # the hub shades its foot
    rim = r >= RIM_CHAMFER
    slope[rim] = 0.36 + 0.9 * np.minimum((r[rim] - RIM_CHAMFER) / (1 - RIM_CHAMFER), 1) ** 2
    sheen[rim] = 0.9
    reach = max(1, round(pixel))
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    curves = (np.convolve(np.pad(c, reach, mode="edge"), kernel, mode="valid") for c in (slope, sheen, hub | face))
    rounded = [np.asarray(curve, dtype=np.float32) for curve in curves]
    return rounded[0], rounded[1], rounded[2]
