import doctest

import numpy as np
import pytest

from offnormal.calibration import incident_rate
from offnormal.calibration.incident_rate import dispersion, later_excess, later_interval, mean_bound

RNG = np.random.default_rng(0)


def bursts(mean, size, dispersed):
    """Counts with this mean and a variance of `dispersed` times the mean."""
    return RNG.negative_binomial(mean / (dispersed - 1), 1 / dispersed, size)


def test_the_examples():
    assert doctest.testmod(incident_rate).attempted == 3
    assert doctest.testmod(incident_rate).failed == 0


@pytest.mark.parametrize("dispersed", [2.0, 5.0])
@pytest.mark.parametrize("mean", [1.0, 6.0, 24.0])
def test_the_interval_contains_the_next_count_and_the_bound_the_mean(mean, dispersed):
    """The dispersion is known here; with a count of 0, no interval of counts can be sure."""
    counts, later = bursts(mean, 4000, dispersed), bursts(mean, 4000, dispersed)
    by_count = {int(count): later_interval(count, 1.0, 1.0, dispersed) for count in set(counts.tolist())}
    inside = [by_count[int(n)][0] <= k <= by_count[int(n)][1] for n, k in zip(counts, later, strict=True)]
    assert np.mean(inside) >= 0.92
    bounds = {int(count): mean_bound(count, 1.0, dispersed) for count in set(counts.tolist())}
    assert np.mean([bounds[int(n)] < mean for n in counts]) <= 0.06


def test_more_footage_narrows_the_interval_and_lowers_the_bound():
    widths = [np.diff(later_interval(6 * days, days, 1.0, 2.0))[0] for days in (1, 2, 7)]
    assert widths == sorted(widths, reverse=True)
    bounds = [mean_bound(6 * days, days, 2.0) for days in (1, 2, 7)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > 6


def test_the_dispersion_is_that_of_the_blocks_and_at_least_two():
    assert dispersion([]) == dispersion([1, 1]) == dispersion([3, 3, 3, 3]) == 2.0
    counts = bursts(4.0, 5000, 4.0)
    assert dispersion(counts) == pytest.approx(4.0, rel=0.1)


def test_the_chance_of_at_least_no_incident_is_one():
    assert later_excess(0, 1.0, calibrated=3, exposure=1.0, spread=2.0) == 1
    chances = [later_excess(count, 1.0, calibrated=3, exposure=1.0, spread=2.0) for count in range(20)]
    assert chances == sorted(chances, reverse=True)
