"""The inspection station: lamps above a dark mat, and a camera that takes 8-bit photographs."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

from offnormal.demo.noise import Field, halve, smooth_noise, smoothstep
from offnormal.demo.part import BORE
from offnormal.demo.surface import Box, Surface, halved

_SPREAD = 0.10  # difference in tilt between the part's center and rim as viewed by a near camera
_LINT = 40  # specks of dust on the mat
_SHADOW = 0.055  # length of the part's shadow, in radii


@dataclass(frozen=True)
class Lamp:
    """A lamp that metal tilted by `lean` toward `azimuth` (radians) reflects into the camera.

    along, across: widths of that reflection along and across the machining marks, as tilts. color: linear red, green,
    and blue.
    """

    azimuth: float
    lean: float
    color: tuple[float, float, float]
    along: float
    across: float


@dataclass(frozen=True)
class Lighting:
    """All lamps (the first casts the shadow) and the ambient light of the room (linear red, green, blue)."""

    lamps: tuple[Lamp, ...]
    room: tuple[float, float, float]


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """Draw the lighting of one photograph: lamps vary in position, age, and temperature."""
    warmth = rng.normal(0, 0.018)
    azimuth = rng.normal(-2.2, 0.13)

    def color(red: float, green: float, blue: float, power: float) -> tuple[float, float, float]:
        return red * (1 + warmth) * power, green * power, blue * (1 - warmth) * power

    key = color(1.03, 1.00, 0.95, 1.15 * rng.uniform(0.88, 1.12))
    fill = color(0.93, 1.00, 1.09, 0.42 * rng.uniform(0.75, 1.25))
    return Lighting(
        lamps=(
            Lamp(azimuth, rng.normal(0.33, 0.02), key, along=0.11, across=0.36),
            Lamp(azimuth + 2.3, 0.40, fill, along=0.15, across=0.40),
        ),
        room=color(0.94, 1.00, 1.08, 0.111),
    )


def light_part(surface: Surface, lighting: Lighting) -> Field:
    """Compute linear light from the metal, (3, H, W) at half the drawing grid; black outside it."""
    height, width = surface.cover.shape
    colors = [_column(lamp.color) for lamp in lighting.lamps] + [_column(lighting.room)]
    light = np.zeros((3, height // 2, width // 2), dtype=np.float32)
    for box in surface.strips():
        rows, cols = halved(box)
        for lobe, color in zip(_reflections(surface, box, lighting.lamps), colors, strict=True):
            light[:, rows, cols] += halve(lobe) * color
        if surface.coating is not None:
            light[:, rows, cols] *= np.exp(-halve(surface.coating.thickness[box]) * _column(surface.coating.absorption))
    return light


def _column(color: tuple[float, float, float]) -> Field:
    """Reshape a color to (3, 1, 1), for images (3, H, W)."""
    return np.array(color, dtype=np.float32)[:, None, None]


def _reflections(surface: Surface, at: Box, lamps: tuple[Lamp, ...]) -> list[Field]:
    """Compute the reflection of each lamp and, last, of the room in a box, each (h, w).

    A lobe is anisotropic and, in the tilt, a generalized Trowbridge-Reitz distribution of exponent 1.5 (Burley
    2012, "Physically-Based Shading at Disney"); its long tails suit the marks of worn tools.
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
    """Compute linear light from the mat, (3, H, W) at half the drawing grid: a green ribbed belt with the shadow."""
    pose, lamp = surface.pose, lighting.lamps[0]
    height, width = surface.cover.shape[0] // 2, surface.cover.shape[1] // 2
    x = (2 * np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - pose.x)) / np.float32(pose.radius)
    y = (2 * np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - pose.y)) / np.float32(pose.radius)
    toward_x, toward_y = np.float32(cos(lamp.azimuth)), np.float32(sin(lamp.azimuth))

    def distance_at(shift: float) -> Field:
        return np.sqrt((x + np.float32(shift) * toward_x) ** 2 + (y + np.float32(shift) * toward_y) ** 2)

    lit = np.float32(0.20) + np.float32(0.25) * smoothstep(0.80, 0.92, distance_at(0.0))
    lit += (1 - lit) * smoothstep(0.94, 1.13, distance_at(_SHADOW))
    lit += np.float32(0.5) * smoothstep(BORE + 0.02, BORE - 0.07, distance_at(2 * _SHADOW))
    lit *= 1 + np.float32(0.10) * (x * toward_x + y * toward_y)
    phase = rng.uniform(0, 2 * pi, 2).astype(np.float32)
    pitch = np.float32(2 * pi / 0.043)
    ribs = np.sin(pitch * x + phase[0]) * np.sin(pitch * y + phase[1])
    grain = rng.standard_normal((height, width), dtype=np.float32)
    rubber = 1 + np.float32(0.14) * ribs + np.float32(0.12) * grain
    rubber += np.float32(0.09) * smooth_noise(rng, (height, width), 30)
    rubber[rng.integers(0, height, _LINT), rng.integers(0, width, _LINT)] += rng.uniform(0.3, 1.5, _LINT)
    level = np.float32(0.030) * lit * np.maximum(rubber, np.float32(0.2))
    return np.asarray(level * _column((0.55, 1.00, 1.02)), dtype=np.float32)


_LEVELS = 16384  # number of linear light levels: finer than 8-bit steps, even in shadows


@dataclass(frozen=True)
class Camera:
    """Settings of one photograph.

    exposure: a factor. vignette: share of light lost in the corners. softness: share of a pixel's light that the lens
    spreads to each neighbor. noise: a factor on the sensor noise.
    """

    exposure: float
    vignette: float
    softness: float
    noise: float


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw the settings of one photograph, with small variations."""
    return Camera(
        exposure=float(np.exp(rng.normal(0, 0.045))),
        vignette=rng.uniform(0.14, 0.24),
        softness=rng.uniform(0.06, 0.15),
        noise=rng.uniform(0.9, 1.5),
    )


def photograph(light: Field, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Convert linear light (3, H, W), nominal white 1, to a photograph (H, W, 3) uint8.

    The exposure does not depend on the scene, and light spreads by one pixel at most.
    """
    _, height, width = light.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lens = np.float32(camera.exposure) * (1 - np.float32(camera.vignette / 2) * (x * x + y * y))
    light = _soften(light, camera.softness)
    light *= lens
    # Color noise has blocks of 2 x 2, like color in JPEG; shot noise grows with the square root of the light.
    blocks = rng.standard_normal((3, (height + 1) // 2, (width + 1) // 2), dtype=np.float32)
    noise = (np.float32(0.3) * blocks).repeat(2, axis=1)[:, :height].repeat(2, axis=2)[:, :, :width]
    noise += rng.standard_normal((height, width), dtype=np.float32)
    noise *= np.sqrt(np.float32(2.2e-6) + np.float32(6.0e-5) * light[1]) * np.float32(camera.noise)
    light += noise
    light *= np.float32(_LEVELS / 2)
    np.clip(light, 0, _LEVELS - 1, out=light)
    curve = _tone_curve()
    return np.stack([curve.take(channel.astype(np.intp)) for channel in light], axis=-1)


def _tone_curve() -> npt.NDArray[np.uint8]:
    """Return the 8-bit value of every linear level (_LEVELS,); nominal white is in the middle.

    A gamma of 2.2 with a shoulder, so that highlights keep their shape up to twice nominal white.
    """
    linear = np.arange(_LEVELS, dtype=np.float32) * np.float32(2 / _LEVELS)
    rolled = 1.10 * linear / np.sqrt(1 + 0.18 * linear**2)
    return np.asarray(255 * np.minimum(rolled, 1) ** (1 / 2.2) + 0.5).clip(0, 255).astype(np.uint8)


def _soften(image: Field, side: float) -> Field:
    """Blur (C, H, W) with the kernel (side, 1 - 2 side, side) in both directions; borders repeat."""
    edge = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    mid, out = np.float32(1 - 2 * side), np.float32(side)
    rows = edge[:, 1:-1] * mid + (edge[:, :-2] + edge[:, 2:]) * out
    return np.asarray(rows[..., 1:-1] * mid + (rows[..., :-2] + rows[..., 2:]) * out)
