from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from offnormal.demo.station import Camera, photograph

PLAIN = Camera(exposure=1.0, vignette=0.0, softness=0.0, noise=0.0)


def shoot(level, camera=PLAIN, seed=0):
    return photograph(np.full((3, 40, 50), level, dtype=np.float32), camera, np.random.default_rng(seed))


def test_the_photograph_is_rgb_and_brighter_with_more_light():
    photographs = [shoot(level) for level in (0.0, 0.05, 0.3, 0.8, 1.5)]
    assert photographs[0].shape == (40, 50, 3)
    assert photographs[0].dtype == np.uint8
    assert all(low.max() < high.min() for low, high in pairwise(photographs))


def test_more_exposure_is_brighter_and_corners_are_darker():
    assert shoot(0.3, Camera(1.2, 0.0, 0.0, 0.0)).min() > shoot(0.3).max()
    shaded = shoot(0.3, Camera(1.0, 0.3, 0.0, 0.0))
    assert shaded[0, 0, 1] < shaded[20, 25, 1] - 10


@pytest.mark.parametrize("level", [0.02, 0.4])
def test_sensor_noise_scales_with_its_factor(level):
    quiet, loud = (shoot(level, Camera(1.0, 0.0, 0.0, factor))[..., 1].std() for factor in (1.0, 3.0))
    assert 0.3 < quiet < 6
    assert loud > 2 * quiet


def test_light_spreads_one_pixel_and_no_further():
    dark = np.full((3, 9, 9), 0.1, dtype=np.float32)
    dot = dark.copy()
    dot[:, 4, 4] = 1.0
    lens = Camera(1.0, 0.0, 0.1, 0.0)
    changed = photograph(dot, lens, np.random.default_rng(0)) != photograph(dark, lens, np.random.default_rng(0))
    rows, cols = np.nonzero(changed.any(axis=-1))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (3, 5, 3, 5)
