import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.guarantee import (
    count_events,
    effective_sample_size,
    normals_needed,
    order_statistic,
    rate_interval,
    smallest_rate,
)
from offnormal.errors import CalibrationError
from offnormal.types import Rate


@given(st.integers(1, 5000), st.floats(1e-3, 0.5))
def test_the_order_statistic_exists_if_and_only_if_there_are_enough_normals(n, rate):
    if n < normals_needed(rate):
        with pytest.raises(CalibrationError, match=str(normals_needed(rate))):
            order_statistic(n, rate)
    else:
        k = order_statistic(n, rate)
        assert 1 <= k <= n
        assert 1 - k / (n + 1) <= rate + 1e-9
        assert k == 1 or 1 - (k - 1) / (n + 1) > rate - 1e-9


@given(st.integers(1, 100_000))
def test_the_smallest_rate_can_always_be_guaranteed(n):
    assert order_statistic(n, smallest_rate(n)) == n


def test_one_percent_needs_99_normals():
    assert normals_needed(0.01) == 99
    assert order_statistic(99, 0.01) == 99
    with pytest.raises(CalibrationError, match="99"):
        order_statistic(98, 0.01)


@pytest.mark.parametrize(("n", "rate"), [(99, 0.01), (200, 0.05), (500, 0.02)])
def test_the_guarantee_holds_as_often_as_stated_over_200_resamples(n, rate):
    rng = np.random.default_rng(7)
    k = order_statistic(n, rate)
    low, high = rate_interval(n, k)
    realized = np.array([np.exp(-np.sort(rng.exponential(size=n))[k - 1]) for _ in range(200)])  # P(score > threshold)
    assert realized.mean() <= rate * 1.15
    assert realized.mean() >= (1 - k / (n + 1)) * 0.8
    inside = ((realized >= low) & (realized <= high)).mean()
    assert 0.90 <= inside <= 0.99


def test_the_interval_matches_the_beta_distribution():
    low, high = rate_interval(99, 99)
    assert low == pytest.approx(1 - 0.975 ** (1 / 99), rel=1e-6)
    assert high == pytest.approx(1 - 0.025 ** (1 / 99), rel=1e-6)
    assert beta.cdf(high, 1, 99) - beta.cdf(low, 1, 99) == pytest.approx(0.95)


def test_correlated_images_count_less_than_independent_images():
    rng = np.random.default_rng(0)
    groups = [f"lot {i // 20}" for i in range(200)]
    independent = rng.normal(size=200)
    correlated = np.repeat(rng.normal(size=10), 20) + 0.05 * rng.normal(size=200)
    assert effective_sample_size(independent, groups) > 60
    assert effective_sample_size(correlated, groups) < 15
    assert effective_sample_size(correlated, [None] * 200) == 200
    assert effective_sample_size(correlated, [str(i) for i in range(200)]) == 200
    assert effective_sample_size(np.ones(200), groups) == 200


@pytest.mark.parametrize(("groups", "size", "icc"), [(2, 60, 0.5), (5, 40, 0.8), (10, 20, 0.5), (20, 10, 0.3)])
def test_the_guarantee_holds_for_images_of_new_groups(groups, size, icc):
    """200 calibrations on grouped scores: images of new groups have at most the guaranteed false-alarm rate."""
    rng = np.random.default_rng(11)
    names = [f"lot {i // size}" for i in range(groups * size)]
    realized, guaranteed = [], []
    for _ in range(200):
        lots = np.repeat(rng.normal(0, np.sqrt(icc), groups), size)
        scores = lots + rng.normal(0, np.sqrt(1 - icc), groups * size)
        calibration = calibrate_scores(scores, scores, rate=None, kind="leave_group_out", bundle="b", groups=names)
        realized.append(norm.sf(calibration.threshold))  # lots and images together are standard normal
        guaranteed.append(calibration.rate.value)
    assert np.mean(realized) <= 1.15 * np.mean(guaranteed)


def test_verdicts_hold_the_guarantee_over_200_resamples():
    rng = np.random.default_rng(5)
    alarms = []
    for _ in range(200):
        scores = rng.gamma(3, size=150)
        calibration = calibrate_scores(scores, scores, rate=Rate(0.04), kind="held_out", bundle="b")
        alarms.append(np.mean([calibration.verdict(float(s)).anomalous for s in rng.gamma(3, size=40)]))
    assert np.mean(alarms) <= 0.045


def test_fewer_effective_normals_widen_the_interval():
    assert rate_interval(50, 49.5)[1] > rate_interval(200, 198)[1]


def test_the_effective_sample_size_of_unequal_groups_matches_a_calculation():
    """Groups (0, 4), (3, 7), (5, 6, 7): means 2, 5, 6 around 32/7; the 10 % quantile of F(2, 4) is 2 (0.9^-1/2 - 1)."""
    between = (2 * (18 / 7) ** 2 + 2 * (3 / 7) ** 2 + 3 * (10 / 7) ** 2) / 2
    within = (8 + 8 + 2) / 4
    size = (7 - (4 + 4 + 9) / 7) / 2
    f_ratio = between / within / (2 * (0.9**-0.5 - 1))
    icc = (f_ratio - 1) / (f_ratio + size - 1)
    scores = np.array([0.0, 4, 3, 7, 5, 6, 7])
    assert 0.5 < icc < 0.95
    assert effective_sample_size(scores, list("aabbccc")) == pytest.approx(7 / (1 + (7 / 3 - 1) * icc), rel=1e-9)


def test_exceedances_close_in_time_are_one_event():
    times = np.array([0.0, 0.2, 0.4, 60.4, 120.5])
    assert count_events(times, 60) == 2
    assert count_events(times, 59) == 3
    assert count_events(times[:0], 60) == 0
