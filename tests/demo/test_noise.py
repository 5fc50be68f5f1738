from __future__ import annotations

import numpy as np
import pytest

from offnormal.demo.noise import double, halve, line_noise, mix, smooth_noise, smoothstep


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_halve_is_the_mean_of_blocks(rng):
    field = rng.random((6, 8), dtype=np.float32)
    naive = [[field[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(halve(field), naive, rtol=1e-6)


def test_halve_undoes_double(rng):
    field = rng.random((5, 4), dtype=np.float32)
    np.testing.assert_array_equal(halve(double(field)), field)


def test_line_noise_has_unit_variance_and_the_requested_width(rng):
    fine, coarse = (line_noise(rng, 20000, (width,)) for width in (1.0, 20.0))
    assert fine.std() == pytest.approx(1, abs=0.1)
    assert coarse.std() == pytest.approx(1, abs=0.3)
    assert np.diff(coarse).std() < 0.2 * np.diff(fine).std()


def test_smooth_noise_is_smooth_and_varies(rng):
    field = smooth_noise(rng, (60, 80), 5)
    assert field.shape == (60, 80)
    assert field.std() > 0.3
    assert np.abs(np.diff(field, axis=0)).max() < 0.5


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.7), (0.7, 0.2)])
def test_smoothstep_matches_its_formula(low, high):
    values = np.linspace(-0.5, 1.5, 41, dtype=np.float32)
    naive = []
    for value in values:
        t = min(max((float(value) - low) / (high - low), 0), 1)
        naive.append(t * t * (3 - 2 * t))
    np.testing.assert_allclose(smoothstep(low, high, values), naive, atol=1e-6)


def test_mix_moves_by_the_weight():
    field = np.float32([0, 0, 0])
    mix(field, 4.0, np.float32([0, 0.25, 1]))
    np.testing.assert_array_equal(field, [0, 1, 4])
