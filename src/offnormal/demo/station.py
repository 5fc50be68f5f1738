"""The inspection station: lamps above a dark mat, and what light they send from part and mat to the camera."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from offnormal.demo.noise import Field, halve, smooth_noise, smoothstep
from offnormal.demo.part import BORE
from offnormal.demo.surface import Box, Surface, halved

_SPREAD = 0.10  # tilt by which the view of a near camera differs between the part's centre and its rim
_LINT = 40  # specks of dust on the mat
_SHADOW = 0.055  # how far the part's shadow falls, in radii


@dataclass(frozen=True)
class Lamp:
    """A lamp whose mirror image the camera sees in metal tilted by `lean` towards `azimuth` (radians).

    `along` and `across` are the widths of that reflection along and across the machining marks, as tilts;
    `colour` is its linear red, green and blue.
    """

    azimuth: float
    lean: float
    colour: tuple[float, float, float]
    along: float
    across: float


@dataclass(frozen=True)
class Lighting:
    """All lamps, the first of which casts the shadow, and the light of the room (linear red, green, blue)."""

    lamps: tuple[Lamp, ...]
    room: tuple[float, float, float]


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """The light of one photograph: lamps that were nudged, that age, and that warm up."""
    warmth = rng.normal(0, 0.018)
    azimuth = rng.normal(-2.2, 0.13)

    def colour(red: float, green: float, blue: float, power: float) -> tuple[float, float, float]:
        return red * (1 + warmth) * power, green * power, blue * (1 - warmth) * power

    key = colour(1.03, 1.00, 0.95, 1.15 * rng.uniform(0.88, 1.12))
    fill = colour(0.93, 1.00, 1.09, 0.42 * rng.uniform(0.75, 1.25))
    return Lighting(
        lamps=(
            Lamp(azimuth, rng.normal(0.33, 0.02), key, along=0.11, across=0.36),
            Lamp(azimuth + 2.3, 0.40, fill, along=0.15, across=0.40),
        ),
        room=colour(0.94, 1.00, 1.08, 0.111),
    )


def light_part(surface: Surface, lighting: Lighting) -> Field:
    """Linear light from the metal, (3, H, W) at half the drawing grid; black where there is none."""
    height, width = surface.cover.shape
    colours = [_column(lamp.colour) for lamp in lighting.lamps] + [_column(lighting.room)]
    light = np.zeros((3, height // 2, width // 2), dtype=np.float32)
    for box in surface.strips():
        rows, cols = halved(box)
        for lobe, colour in zip(_reflections(surface, box, lighting.lamps), colours, strict=True):
            light[:, rows, cols] += halve(lobe) * colour
        if surface.film is not None:
            light[:, rows, cols] *= np.exp(-halve(surface.film.thickness[box]) * _column(surface.film.absorption))
    return light


def _column(colour: tuple[float, float, float]) -> Field:
    """A colour, (3, 1, 1), to go with pictures, (3, H, W)."""
    return np.array(colour, dtype=np.float32)[:, None, None]


def _reflections(surface: Surface, at: Box, lamps: tuple[Lamp, ...]) -> list[Field]:
    """What a box reflects of each lamp and, last, of the room, each (h, w).

    A lobe is anisotropic and, in the tilt, a generalized Trowbridge-Reitz distribution of exponent 1.5 (Burley
    2012, "Physically-Based Shading at Disney"), whose long tails suit the marks of worn tools.
    """
    distance, cosine, sine = surface.polar(at)
    weight = surface.cover[at] * surface.reflect[at]
    sharp = 1 / surface.rough[at]
    slope_r, slope_t = surface.slope_r[at] + np.float32(_SPREAD) * distance, surface.slope_t[at]
    lobes: list[Field] = []
    for lamp in lamps:
        x, y = np.float32(lamp.lean * cos(lamp.azimuth)), np.float32(lamp.lean * sin(lamp.azimuth))
        along = (y * cosine - x * sine - slope_t) * (sharp * np.float32(1 / lamp.along))
        across = (x * cosine + y * sine - slope_r) * (sharp * np.float32(1 / lamp.across))
        spread = 1 + along * along + across * across
        lobes.append(np.asarray(weight / (spread * np.sqrt(spread)), dtype=np.float32))
    lobes.append(weight / (1 + np.float32(0.9) * (slope_r * slope_r + slope_t * slope_t)))
    return lobes


def light_mat(surface: Surface, lighting: Lighting, rng: np.random.Generator) -> Field:
    """Linear light from the mat, (3, H, W) at half the drawing grid: green ribbed belt in the part's shadow."""
    pose, lamp = surface.pose, lighting.lamps[0]
    height, width = surface.cover.shape[0] // 2, surface.cover.shape[1] // 2
    x = (2 * np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - pose.x)) / np.float32(pose.radius)
    y = (2 * np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - pose.y)) / np.float32(pose.radius)
    towards_x, towards_y = np.float32(cos(lamp.azimuth)), np.float32(sin(lamp.azimuth))

    def seen_from(shift: float) -> Field:
        return np.sqrt((x + np.float32(shift) * towards_x) ** 2 + (y + np.float32(shift) * towards_y) ** 2)

    lit = np.float32(0.20) + np.float32(0.25) * smoothstep(0.80, 0.92, seen_from(0.0))
    lit += (1 - lit) * smoothstep(0.94, 1.13, seen_from(_SHADOW))
    lit += np.float32(0.5) * smoothstep(BORE + 0.02, BORE - 0.07, seen_from(2 * _SHADOW))
    lit *= 1 + np.float32(0.10) * (x * towards_x + y * towards_y)
    phase = rng.uniform(0, 2 * pi, 2).astype(np.float32)
    pitch = np.float32(2 * pi / 0.043)
    ribs = np.sin(pitch * x + phase[0]) * np.sin(pitch * y + phase[1])
    grain = rng.standard_normal((height, width), dtype=np.float32)
    rubber = 1 + np.float32(0.14) * ribs + np.float32(0.12) * grain
    rubber += np.float32(0.09) * smooth_noise(rng, (height, width), 30)
    rubber[rng.integers(0, height, _LINT), rng.integers(0, width, _LINT)] += rng.uniform(0.3, 1.5, _LINT)
    level = np.float32(0.030) * lit * np.maximum(rubber, np.float32(0.2))
    return np.asarray(level * _column((0.55, 1.00, 1.02)), dtype=np.float32)
