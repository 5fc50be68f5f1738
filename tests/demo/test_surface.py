from __future__ import annotations

from math import hypot

import numpy as np
import pytest

from offnormal.demo.surface import Pose, Surface, halved

POSE = Pose(x=52.3, y=46.8, radius=38.0, turn=0.0)


@pytest.fixture
def surface():
    return Surface.empty(POSE, (96, 100))


def test_strips_cover_the_whole_part_once_on_even_pixels(surface):
    coverage = np.zeros((96, 100), dtype=int)
    for rows, cols in surface.strips():
        assert all(edge % 2 == 0 for edge in (rows.start, rows.stop, cols.start, cols.stop))
        coverage[rows, cols] += 1
    rows, cols = np.mgrid[:96, :100]
    part = np.hypot(cols - POSE.x, rows - POSE.y) <= POSE.radius
    assert coverage.max() == 1
    assert (coverage[part] == 1).all()


def test_polar_matches_a_loop(surface):
    distance, cos, sin = surface.polar((slice(10, 14), slice(20, 23)))
    for i, row in enumerate(range(10, 14)):
        for j, col in enumerate(range(20, 23)):
            x, y = (col - POSE.x) / POSE.radius, (row - POSE.y) / POSE.radius
            assert distance[i, j] == pytest.approx(hypot(x, y), abs=2e-4)
            assert cos[i, j] == pytest.approx(x / hypot(x, y), abs=1e-3)
            assert sin[i, j] == pytest.approx(y / hypot(x, y), abs=1e-3)


def test_window_is_centered_and_clipped(surface):
    window = surface.window(0.5, -0.25, 0.2)
    rows, cols = window.box
    row, col = POSE.y - 0.25 * POSE.radius, POSE.x + 0.5 * POSE.radius
    assert window.x[0, 0] == pytest.approx((cols.start - col) / POSE.radius, abs=1e-5)
    assert window.y[-1, 0] == pytest.approx((rows.stop - 1 - row) / POSE.radius, abs=1e-5)
    assert window.x[0, 0] <= -0.2 + 1 / POSE.radius
    assert window.x[0, -1] >= 0.2
    clipped = surface.window(1.2, 1.2, 0.5)
    assert surface.cover[clipped.box].shape == clipped.rho.shape
    assert clipped.box[1].stop == 100


def test_tilt_and_bend_turn_with_the_marks(surface):
    right = (slice(46, 48), slice(80, 82))  # right of the center: outward is along x
    ones = np.ones((2, 2), dtype=np.float32)
    surface.tilt(right, 0.3 * ones, 0.1 * ones, ones)
    np.testing.assert_allclose(surface.slope_r[right], 0.3, atol=0.01)
    np.testing.assert_allclose(surface.slope_t[right], 0.1, atol=0.02)
    surface.bend(right, 0.3 * ones, 0 * ones)
    np.testing.assert_allclose(surface.slope_r[right], 0.6, atol=0.01)


def test_halved_halves_every_side():
    assert halved((slice(4, 10), slice(0, 6))) == (slice(2, 5), slice(0, 3))
