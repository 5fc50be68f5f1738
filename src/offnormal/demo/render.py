"""Renders one image of the demo dataset and its mask from a seed."""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offnormal.demo.damage import make_part
from offnormal.demo.noise import halve
from offnormal.demo.station import draw_camera, draw_lighting, light_mat, light_part, photograph
from offnormal.demo.surface import Pose


class RenderedImage(NamedTuple):
    """A photograph (H, W, 3) uint8 RGB and its mask (H, W) bool, True where a defect changed the part."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def render(size: int, seed: tuple[int, ...], defect: str | None = None, severity: float = 0.5) -> RenderedImage:
    """Photograph one part, `size` pixels square; the same `seed` without a `defect` gives the same part undamaged.

    defect: one of `damage.DEFECTS` or None. severity: 0 (subtle) to 1 (obvious).
    """
    streams = np.random.SeedSequence(seed).spawn(6)
    rngs = (np.random.default_rng(stream) for stream in streams)
    pose_rng, part_rng, lighting_rng, mat_rng, sensor_rng, damage_rng = rngs
    lighting, camera = draw_lighting(lighting_rng), draw_camera(lighting_rng)
    surface, mask = make_part(_draw_pose(size, pose_rng), size, part_rng, damage_rng, defect, severity)
    linear_image = light_part(surface, lighting)
    linear_image += (1 - halve(surface.cover)) * light_mat(surface, lighting, mat_rng)
    del surface  # its memory is reused, which saves a quarter of the time
    return RenderedImage(photograph(linear_image, camera, sensor_rng), mask)


def _draw_pose(size: int, rng: np.random.Generator) -> Pose:
    """Draw the pose of a part in its fixture: a play of a few pixels of 320, 2 degrees, and 1.5 % in distance."""
    x, y = np.clip(rng.normal(0, 1.4, 2), -3, 3) * size / 160
    scale = 1 + rng.uniform(-0.015, 0.015)
    return Pose(size - 0.5 + x, size - 0.5 + y, 0.80 * size * scale, radians(rng.uniform(-2, 2)))
