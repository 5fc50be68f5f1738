import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.detectors.parts.pixel_moments import PixelMoments
from offnormal.errors import FitError


def samples(n, pixels=5, seed=0):
    return torch.from_numpy(100 + np.random.default_rng(seed).normal(0, 0.01, (n, pixels))).float()


def check(moments, rows):
    rows = rows.double().numpy()
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), rows.var(0, ddof=1), rtol=1e-6, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_merged_moments_equal_the_whole_far_from_zero(sizes, seed):
    rows = samples(sum(sizes) + 1, seed=seed)
    pieces = [PixelMoments.from_samples(piece) for piece in torch.split(rows, [1, *sizes])]
    forwards, backwards = pieces[0], pieces[-1]
    for piece in pieces[1:]:
        forwards = forwards.merge(piece)
    for piece in reversed(pieces[:-1]):
        backwards = backwards.merge(piece)
    check(forwards, rows)
    check(backwards, rows)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(2, 8), st.integers(0, 99))
def test_removing_samples_leaves_the_moments_of_the_others(removed, remaining, seed):
    rows = samples(removed + remaining, seed=seed)
    check(PixelMoments.from_samples(rows).without(PixelMoments.from_samples(rows[:removed])), rows[removed:])


def test_leave_one_out_moments_are_exact():
    rows = samples(6)
    means, variances = PixelMoments.from_samples(rows).leave_one_out(rows)
    for i in range(6):
        remaining = np.delete(rows.double().numpy(), i, axis=0)
        np.testing.assert_allclose(means[i], remaining.mean(0), rtol=1e-12)
        np.testing.assert_allclose(variances[i], remaining.var(0, ddof=1), rtol=1e-6, atol=1e-12)


def test_too_few_or_identical_samples_are_rejected():
    rows = samples(2)
    with pytest.raises(FitError, match="at least 2"):
        PixelMoments.from_samples(rows[:1]).variance()
    with pytest.raises(FitError, match="at least 3"):
        PixelMoments.from_samples(rows).leave_one_out(rows)
    with pytest.raises(FitError, match="at least one must remain"):
        PixelMoments.from_samples(rows).without(PixelMoments.from_samples(rows))
    with pytest.raises(FitError, match="all normal images are the same"):
        PixelMoments.from_samples(rows[:1].repeat(4, 1)).variance()
    with pytest.raises(FitError, match="5 pixels"):
        PixelMoments.from_samples(samples(3, pixels=4)).merge(PixelMoments.from_samples(rows))
