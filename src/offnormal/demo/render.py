"""One image of the demonstration set, and its mask, from a seed and a place in the tree."""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offnormal.demo.damage import make_part
from offnormal.demo.noise import halve
from offnormal.demo.station import draw_camera, draw_lighting, light_mat, light_part, photograph
from offnormal.demo.surface import Pose


class Picture(NamedTuple):
    """A photograph, (H, W, 3) uint8 RGB, and its mask, (H, W) bool, true where a defect changed the part."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def render(size: int, seed: tuple[int, ...], defect: str | None = None, severity: float = 0.5) -> Picture:
    """Photograph one part, `size` pixels square; the same `seed` without a `defect` gives the same part, sound.

    `defect` is one of `damage.DEFECTS` or None; `severity` from 0 (subtle) to 1 (obvious).
    """
    streams = np.random.SeedSequence(seed).spawn(6)
    lie, turning, light, belt, sensor, damage = (np.random.default_rng(stream) for stream in streams)
    lighting, camera = draw_lighting(light), draw_camera(light)
    surface, mask = make_part(_draw_pose(size, lie), size, turning, damage, defect, severity)
    picture = light_part(surface, lighting)
    picture += (1 - halve(surface.cover)) * light_mat(surface, lighting, belt)
    del surface  # freed before more is allocated, its memory is used again: a quarter of the time of an image
    return Picture(photograph(picture, camera, sensor), mask)


def _draw_pose(size: int, rng: np.random.Generator) -> Pose:
    """A part in its fixture: the play is a few pixels of 320, 2 degrees, and 1.5 % of the distance."""
    x, y = np.clip(rng.normal(0, 1.4, 2), -3, 3) * size / 160
    scale = 1 + rng.uniform(-0.015, 0.015)
    return Pose(size - 0.5 + x, size - 0.5 + y, 0.80 * size * scale, radians(rng.uniform(-2, 2)))
