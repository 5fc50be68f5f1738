"""Missing pieces: a chunk broken off the rim, or a bolt hole that nobody drilled."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from offnormal.demo.noise import Field, line_noise, mix, smooth_noise
from offnormal.demo.part import BOLT_CHAMFER, bolt_holes
from offnormal.demo.surface import Surface

_ANGLES = 256  # round the middle of a bite, at which its outline is drawn


def broken_rim(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Break a chunk off the rim, so that the mat shows; returns where, (H, W), 1 on all that lies inside the bite.

    `severity` from 0 to 1 goes from a nick in the rim's chamfer to a bite that may reach into a bolt hole.
    """
    bite = (0.022 + 0.175 * severity) * rng.uniform(0.85, 1.15)
    curve = bite * rng.uniform(1.2, 2.6) + 0.03
    ledge = rng.uniform(0.012, 0.020) + 0.025 * severity
    bearing = rng.uniform(0, 2 * pi)
    distance = 1 + curve - bite  # of the middle of the bite, a ragged circle of radius `curve`
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
    where = np.zeros_like(surface.cover)
    where[box] = broken > 0.5
    surface.cover[box] *= 1 - surface.edge(depth)
    return where


def undrilled_hole(surface: Surface, index: int) -> Field:
    """Where bolt hole `index` and its chamfer should be, (H, W), 1 there and 0 elsewhere."""
    window = surface.window(*bolt_holes(surface.pose.turn)[index], BOLT_CHAMFER + 0.02)
    where = np.zeros_like(surface.cover)
    where[window.box] = window.rho < BOLT_CHAMFER
    return where
