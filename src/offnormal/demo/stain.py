"""Stains: oil, rust or coolant that dried on the part."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from offnormal.demo.noise import Field, smooth_noise, smoothstep
from offnormal.demo.part import free_place
from offnormal.demo.surface import Film, Surface, Window

_VISIBLE = 0.04  # the mask holds where the film takes at least this share of the light, in some colour


@dataclass(frozen=True)
class _Kind:
    """What a thickness of 1 absorbs of red, green and blue; how cloudy the film is; how dark its edge dries."""

    absorption: tuple[float, float, float]
    cloud: float
    dried: float


_KINDS = (
    _Kind((0.85, 1.15, 1.70), cloud=0.12, dried=0.9),  # oil
    _Kind((0.48, 1.12, 2.10), cloud=0.45, dried=0.1),  # rust
    _Kind((1.15, 1.10, 1.02), cloud=0.30, dried=0.3),  # grease with swarf
)


def stain(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Lay a film with a soft irregular edge on the part; returns where it shows, (H, W), 1 on it.

    `severity` from 0 to 1 goes from a faint breath as big as a bolt hole to a dark patch of a third of the face.
    """
    kind = _KINDS[rng.integers(len(_KINDS))]
    reach = (0.07 + 0.20 * severity) * rng.uniform(0.85, 1.15)
    strength = np.float32((0.08 + 0.95 * severity**1.2) * rng.uniform(0.85, 1.15))
    window = surface.window(*free_place(surface.pose.turn, rng, 0.03), 2.2 * reach)
    box, shape = window.box, window.rho.shape
    far = _puddle(window, rng, reach)
    body = smoothstep(1.0, 1.0 - rng.uniform(0.10, 0.35), far)
    ring = smoothstep(0.60, 0.92, far)
    cloud = smooth_noise(rng, shape, 9) + np.float32(0.8) * smooth_noise(rng, shape, 32)
    thickness = strength * body * (np.float32(0.75) + np.float32(kind.dried) * ring)
    thickness *= np.clip(1 + np.float32(kind.cloud) * cloud, 0.2, 2.0) * (surface.cover[box] > 0)
    surface.film = Film(np.zeros_like(surface.cover), kind.absorption)
    surface.film.thickness[box] = thickness
    surface.rough[box] += np.float32(0.5) * np.minimum(thickness, 1)
    where = np.zeros_like(surface.cover)
    where[box] = 1 - np.exp(-thickness * np.float32(max(kind.absorption))) > _VISIBLE
    return where


def _puddle(window: Window, rng: np.random.Generator, reach: float) -> Field:
    """How far out every pixel lies, (h, w), 1 at the film's ragged edge: one puddle and a few splashes."""
    lean, stretch = rng.uniform(0, pi), np.float32(rng.uniform(1.0, 1.5))
    ahead = window.x * np.float32(cos(lean)) + window.y * np.float32(sin(lean))
    aside = window.y * np.float32(cos(lean)) - window.x * np.float32(sin(lean))
    far = np.sqrt((ahead / stretch) ** 2 + (aside * stretch) ** 2) / np.float32(reach)
    for cells, strength in ((3, 0.22), (7, 0.16), (17, 0.07)):
        far += np.float32(strength) * smooth_noise(rng, far.shape, cells)
    for _ in range(rng.integers(0, 6)):
        bearing, size = rng.uniform(0, 2 * pi), rng.uniform(0.06, 0.16) * reach
        out = rng.uniform(1.1, 1.7) * reach
        drop_x, drop_y = np.float32(out * cos(bearing)), np.float32(out * sin(bearing))
        far = np.minimum(far, np.sqrt((window.x - drop_x) ** 2 + (window.y - drop_y) ** 2) / np.float32(size))
    return np.asarray(far, dtype=np.float32)
