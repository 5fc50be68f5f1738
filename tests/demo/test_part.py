from __future__ import annotations

from math import hypot, pi

import numpy as np
import pytest

from offnormal.demo.part import (
    BOLT_CHAMFER,
    BORE_CHAMFER,
    FILLET,
    HUB,
    RIM_CHAMFER,
    bolt_holes,
    build,
    draw_flat_point,
)
from offnormal.demo.surface import Pose

POSE = Pose(x=95.5, y=97.0, radius=76.0, turn=0.02)
SHAPE = (192, 192)


def cover_at(surface, x, y):
    return surface.cover[round(POSE.y + y * POSE.radius), round(POSE.x + x * POSE.radius)]


def test_the_mat_shows_through_bore_and_bolt_holes_only():
    surface = build(POSE, SHAPE, np.random.default_rng(0))
    assert cover_at(surface, 0, 0) == 0
    assert cover_at(surface, 1.1, 0) == 0
    assert all(cover_at(surface, x, y) == 0 for x, y in bolt_holes(POSE.turn))
    between = bolt_holes(POSE.turn + pi / 6)
    assert all(cover_at(surface, x, y) == 1 for x, y in between)


@pytest.mark.parametrize("index", range(6))
def test_an_undrilled_hole_is_metal_and_changes_nothing_else(index):
    complete, undrilled = (build(POSE, SHAPE, np.random.default_rng(0), undrilled=hole) for hole in (None, index))
    x, y = bolt_holes(POSE.turn)[index]
    assert cover_at(undrilled, x, y) == 1
    rows, cols = np.nonzero(complete.slope_r != undrilled.slope_r)
    far = np.hypot((cols - POSE.x) / POSE.radius - x, (rows - POSE.y) / POSE.radius - y)
    assert far.max() < BOLT_CHAMFER + 2 / POSE.radius


def test_machining_marks_differ_between_parts():
    first, second = (build(POSE, SHAPE, np.random.default_rng(seed)) for seed in (0, 1))
    face = (first.cover == 1) & (np.abs(first.slope_t) < 0.1) & (np.abs(second.slope_t) < 0.1)
    assert np.corrcoef(first.slope_t[face], second.slope_t[face])[0, 1] < 0.5


def test_flat_points_are_away_from_edges():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = draw_flat_point(0.3, rng, 0.04)
        distance = hypot(x, y)
        assert BORE_CHAMFER + 0.04 <= distance <= HUB - 0.04 or FILLET + 0.04 <= distance <= RIM_CHAMFER - 0.04
        assert min(hypot(x - bolt_x, y - bolt_y) for bolt_x, bolt_y in bolt_holes(0.3)) >= BOLT_CHAMFER + 0.04
