import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.detectors.parts.pixel_moments import PixelMoments
from offnormal.errors import FitError


def samples(n, pixels=5, seed=0):
    return torch.from_numpy(100 + np.random.default_rng(seed).normal(0, 0.01, (n, pixels))).float()


def check(found, rows):
    rows = rows.double().numpy()
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance(), rows.var(0, ddof=1), rtol=1e-6, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_moments_of_parts_join_to_those_of_the_whole_far_from_zero(sizes, seed):
    rows = samples(sum(sizes) + 1, seed=seed)
    pieces = [PixelMoments.of(piece) for piece in torch.split(rows, [1, *sizes])]
    forwards, backwards = pieces[0], pieces[-1]
    for piece in pieces[1:]:
        forwards = forwards.merged(piece)
    for piece in reversed(pieces[:-1]):
        backwards = backwards.merged(piece)
    check(forwards, rows)
    check(backwards, rows)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(2, 8), st.integers(0, 99))
def test_what_is_taken_out_leaves_the_moments_of_the_rest(gone, left, seed):
    rows = samples(gone + left, seed=seed)
    check(PixelMoments.of(rows).without(PixelMoments.of(rows[:gone])), rows[gone:])


def test_every_sample_is_left_out_exactly():
    rows = samples(6)
    means, variances = PixelMoments.of(rows).left_out(rows)
    for i in range(6):
        others = np.delete(rows.double().numpy(), i, axis=0)
        np.testing.assert_allclose(means[i], others.mean(0), rtol=1e-12)
        np.testing.assert_allclose(variances[i], others.var(0, ddof=1), rtol=1e-6, atol=1e-12)


def test_too_few_samples_and_samples_without_variance_are_refused():
    rows = samples(2)
    with pytest.raises(FitError, match="at least 2"):
        PixelMoments.of(rows[:1]).variance()
    with pytest.raises(FitError, match="at least 3"):
        PixelMoments.of(rows).left_out(rows)
    with pytest.raises(FitError, match="nothing would be left"):
        PixelMoments.of(rows).without(PixelMoments.of(rows))
    with pytest.raises(FitError, match="all the same"):
        PixelMoments.of(rows[:1].repeat(4, 1)).variance()
    with pytest.raises(FitError, match="5 pixels"):
        PixelMoments.of(samples(3, pixels=4)).merged(PixelMoments.of(rows))
