"""The part number that a laser burnt into the face: 5 x 7 dots a letter, bent round the part's centre."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from offnormal.demo.noise import Field
from offnormal.demo.surface import Surface

_TEXT = "DN40"
_GLYPHS = {
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "N": ("#...#", "##..#", "##..#", "#.#.#", "#..##", "#..##", "#...#"),
    "4": ("...#.", "..##.", ".#.#.", "#..#.", "#####", "...#.", "...#."),
    "0": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
}
_PITCH = 0.018  # from dot to dot, in radii of the part
_DOT = 0.62  # radius of a dot, in pitches: strokes close up
_FINE = 6  # samples of the stencil in a pitch
_INK = 0.50  # share of the light that a burnt dot takes


def mark(surface: Surface, bearing: float, distance: float) -> None:
    """Burn the part number into the surface, centred at `bearing` (radians) and `distance` (radii)."""
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
    """How burnt the metal is, 0 to 1, (9, 6 letters + 3) pitches finely sampled, with a clean margin."""
    height, width = 10 * _FINE, (6 * len(_TEXT) + 2) * _FINE
    down = (np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)) / _FINE - 2
    across = (np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)) / _FINE - 2
    burnt = np.zeros((height, width), dtype=np.float32)
    for place, letter in enumerate(_TEXT):
        for row, line in enumerate(_GLYPHS[letter]):
            for column, dot in enumerate(line):
                if dot == "#":
                    at = (row, place * 6 + column)
                    near = (
                        slice(at[0] * _FINE, (at[0] + 4) * _FINE),
                        slice(at[1] * _FINE, (at[1] + 4) * _FINE),
                    )
                    square = (down[near[0]] - at[0]) ** 2 + (across[:, near[1]] - at[1]) ** 2
                    burnt[near] += np.exp(square * np.float32(-1 / _DOT**2))
    return np.minimum(burnt, 1)
