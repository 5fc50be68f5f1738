"""One picture of the demonstration set, and its mask, from a seed and a place in the tree."""

from __future__ import annotations

from collections.abc import Callable
from math import radians
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offnormal.demo.camera import draw_camera, photograph
from offnormal.demo.hole import hole
from offnormal.demo.missing import broken_rim, undrilled_hole
from offnormal.demo.noise import Field, halve
from offnormal.demo.part import BOLT_COUNT, build
from offnormal.demo.scratch import scratch
from offnormal.demo.stain import stain
from offnormal.demo.station import draw_lighting, light_mat, light_part
from offnormal.demo.surface import Pose, Surface

_DAMAGE: dict[str, Callable[[Surface, np.random.Generator, float], Field]] = {
    "hole": hole,
    "missing_piece": broken_rim,
    "scratch": scratch,
    "stain": stain,
}
DEFECTS = tuple(_DAMAGE)
_UNDRILLED = 0.3  # share of the missing pieces that are a bolt hole nobody drilled


class Picture(NamedTuple):
    """A photograph, (H, W, 3) uint8 RGB, and its mask, (H, W) bool, true where a defect changed the part."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def render(size: int, seed: tuple[int, ...], defect: str | None = None, severity: float = 0.5) -> Picture:
    """Photograph one part, `size` pixels square; the same `seed` without a `defect` gives the same part, sound.

    `defect` is one of `DEFECTS` or None; `severity` from 0 (subtle) to 1 (obvious).
    """
    streams = np.random.SeedSequence(seed).spawn(6)
    lie, turning, light, belt, sensor, damage = (np.random.default_rng(stream) for stream in streams)
    lighting, camera = draw_lighting(light), draw_camera(light)
    surface, mask = _make(_draw_pose(size, lie), size, turning, damage, defect, severity)
    picture = light_part(surface, lighting)
    picture += (1 - halve(surface.cover)) * light_mat(surface, lighting, belt)
    del surface  # freed before more is allocated, its memory is used again: a quarter of the time of a picture
    return Picture(photograph(picture, camera, sensor), mask)


def _make(
    pose: Pose,
    size: int,
    turning: np.random.Generator,
    damage: np.random.Generator,
    defect: str | None,
    severity: float,
) -> tuple[Surface, npt.NDArray[np.bool_]]:
    """The part, damaged if `defect` says so, and where, (size, size)."""
    shape = (2 * size, 2 * size)
    if defect is None:
        return build(pose, shape, turning), np.zeros((size, size), dtype=np.bool_)
    if defect == "missing_piece" and damage.random() < _UNDRILLED:
        index = int(damage.integers(BOLT_COUNT))
        surface = build(pose, shape, turning, undrilled=index)
        where = undrilled_hole(surface, index)
    else:
        surface = build(pose, shape, turning)
        metal = surface.cover > 0
        where = _DAMAGE[defect](surface, damage, severity) * metal
    share = halve(where)
    return surface, share >= 0.25


def _draw_pose(size: int, rng: np.random.Generator) -> Pose:
    """A part in its fixture: the play is a few pixels of 320, 2 degrees, and 1.5 % of the distance."""
    x, y = np.clip(rng.normal(0, 1.4, 2), -3, 3) * size / 160
    scale = 1 + rng.uniform(-0.015, 0.015)
    return Pose(size - 0.5 + x, size - 0.5 + y, 0.80 * size * scale, radians(rng.uniform(-2, 2)))
