"""Holes and pits: a drill that slipped, or a pore in the casting that turning laid open."""

from __future__ import annotations

import numpy as np

from offnormal.demo.noise import Field, mix, smooth_noise
from offnormal.demo.part import free_place
from offnormal.demo.surface import Surface

_BURR = 1.35  # outer radius of the raised rim, in radii of the hole
_FINEST = 1.2  # radius, in pixels of the drawing grid: less could fall between them


def hole(surface: Surface, rng: np.random.Generator, severity: float) -> Field:
    """Sink a hole (or, by chance, an irregular pit) into a flat face; returns where, (H, W), 1 on it.

    `severity` from 0 to 1 goes from a pin prick to more than half the width of a bolt hole.
    """
    radius = max((0.008 + 0.042 * severity) * rng.uniform(0.9, 1.1), _FINEST / surface.pose.radius)
    x, y = free_place(surface.pose.turn, rng, _BURR * radius + 0.01)
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
    where = np.zeros_like(surface.cover)
    where[box] = burr > 0.5
    return where
