from dataclasses import replace
from math import comb, exp

import numpy as np
import pytest
from scipy.stats import gamma, poisson

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.check import Answer, check_guarantee, check_incidents, check_units
from offnormal.calibration.guarantee import count_events
from offnormal.errors import UsageError
from offnormal.types import Rate


def naive_units(exceedances, units, rank, normals):
    """P(K >= exceedances) by counting: all orders of normal and new units are equally likely.

    The orders with K new units above the rank-th highest normal are the ways to place K among the first rank - 1 + K
    positions, times the ways to place the other units below.
    """
    ways = comb(units + normals, units)
    return (
        sum(
            comb(rank - 1 + above, above) * comb(normals - rank + units - above, units - above)
            for above in range(exceedances, units + 1)
        )
        / ways
    )


@pytest.mark.parametrize(
    ("exceedances", "rank", "normals", "p_value", "answer"),
    [
        (6, 2, 199, 0.000724, Answer.BROKEN),
        (5, 2, 199, 0.002875, Answer.BROKEN),
        (4, 2, 199, 0.010972, Answer.BROKEN),
        (3, 2, 199, 0.039837, Answer.HELD),
        (6, 1, 60, 0.013706, Answer.BROKEN),
        (5, 1, 60, 0.028658, Answer.HELD),
    ],
)
def test_answers_for_sixty_normal_units(exceedances, rank, normals, p_value, answer):
    check = check_units(exceedances, 60, rank=rank, normals=normals, rate=rank / (normals + 1))
    assert check.answer is answer
    assert check.p_value == pytest.approx(p_value, rel=1e-3)


@pytest.mark.parametrize(("units", "rank", "normals"), [(1, 1, 1), (7, 3, 20), (60, 2, 199), (40, 20, 20)])
def test_p_values_of_units_equal_the_share_of_orders(units, rank, normals):
    for exceedances in range(units + 1):
        check = check_units(exceedances, units, rank=rank, normals=normals, rate=0.5)
        assert check.p_value == pytest.approx(naive_units(exceedances, units, rank, normals), rel=1e-9)


@pytest.mark.parametrize(("later", "calibrated", "exposure"), [(1.0, 2, 1.0), (0.1, 0, 4.0), (4.0, 7, 0.2)])
def test_p_values_of_incidents_are_those_of_a_poisson_count_with_an_unknown_rate(later, calibrated, exposure):
    """By integration over the rate, gamma(calibrated + 1/2, exposure); with a dispersion of 3, of thirds of counts."""
    rates = gamma(calibrated + 0.5, scale=1 / exposure).ppf((np.arange(20_000) + 0.5) / 20_000)
    options = {"calibrated": calibrated, "exposure": exposure, "rate": 1}
    for incidents in range(8):
        expected = float(poisson(rates * later).sf(incidents - 1).mean())
        single = check_incidents(incidents, later, **options, dispersion=1)
        assert single.p_value == pytest.approx(expected, abs=1e-4)
        tripled = {**options, "calibrated": 3 * calibrated}
        assert check_incidents(3 * incidents, later, **tripled, dispersion=3).p_value == single.p_value


def test_a_guarantee_that_holds_is_rarely_called_broken():
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(600):
        calibration = calibrate_scores(rng.gamma(3, size=99), None, rate=Rate(0.02), kind="held_out", bundle="b")
        above = int((rng.gamma(3, size=80) > calibration.threshold).sum())
        answers.append(check_guarantee(calibration, above, 80).answer)
    assert 0.002 < np.mean([answer is Answer.BROKEN for answer in answers]) <= 0.03
    assert Answer.NOT_ENOUGH_DATA not in answers


def test_held_requires_enough_units_to_detect_ten_times_the_rate_in_half_of_all_test_sets():
    """n = 199, j = 2: two above the threshold are broken up to 14 units; at 10 %, half of the sets of 17 have two."""

    def power(units):
        critical = next(k for k in range(units + 2) if naive_units(k, units, 2, 199) < 0.025)
        return sum(comb(units, k) * 0.1**k * 0.9 ** (units - k) for k in range(critical, units + 1))

    for units in range(40):
        expected = Answer.HELD if power(units) >= 0.5 else Answer.NOT_ENOUGH_DATA
        assert check_units(0, units, rank=2, normals=199, rate=0.01).answer is expected
    assert check_units(0, 16, rank=2, normals=199, rate=0.01).answer is Answer.NOT_ENOUGH_DATA
    assert check_units(0, 17, rank=2, normals=199, rate=0.01).answer is Answer.HELD


def test_a_few_units_are_broken_if_all_are_above_the_threshold():
    assert check_units(3, 3, rank=2, normals=199, rate=0.01).answer is Answer.BROKEN
    assert check_units(0, 0, rank=2, normals=199, rate=0.01).answer is Answer.NOT_ENOUGH_DATA


def test_held_requires_enough_footage_to_detect_ten_times_the_rate():
    """Nothing in 4 days, 1 a day asked for: in half a day, 2 pairs are broken; ten times the rate are 2.5 pairs."""
    options = {"calibrated": 0, "exposure": 4.0, "rate": 1, "dispersion": 2}
    assert check_incidents(4, 0.5, **options).answer is Answer.BROKEN
    assert check_incidents(2, 0.5, **options).answer is Answer.HELD
    assert 1 - exp(-2.5) * (1 + 2.5) > 0.5 > 1 - exp(-1.25) * (1 + 1.25)
    assert check_incidents(0, 0.25, **options).answer is Answer.NOT_ENOUGH_DATA


def test_a_calibration_stores_the_rank_of_its_threshold():
    calibration = calibrate_scores(np.arange(199.0), None, rate=Rate(0.01), kind="held_out", bundle="b")
    assert (calibration.threshold, calibration.rank, calibration.effective) == (197, 2, 199)
    assert check_guarantee(calibration, 6, 60) == check_units(6, 60, rank=2, normals=199, rate=0.01)
    assert check_guarantee(calibration.with_threshold(3.0), 6, 60) is None


def test_frames_are_checked_by_events_in_time():
    """Forty groups of 30 frames at 5 fps; two runs of five high frames, across a group boundary and a clock restart."""
    scores = np.arange(1200) * 37 % 1200 / 1200
    scores[[297, 298, 299, 300, 301, 614, 615, 616, 617, 618]] = np.arange(2, 12)
    times = np.concatenate([np.arange(615), np.arange(585)]) / 5
    groups = [f"v{i // 30}" for i in range(1200)]
    options = {"rate": Rate(0.012, "frame"), "kind": "held_out", "bundle": "b", "units": "frames", "groups": groups}
    timed = calibrate_scores(scores, None, **options, times_s=times)
    assert timed.threshold == 2  # frame 297; above it 298-299, 300-301, 614, and 615-618
    assert timed.rank == 1 + 4
    assert timed.block_s == pytest.approx(240 / timed.effective)  # seconds of all frames, including the last ones
    units, normals = int(60 / timed.block_s), timed.effective
    assert check_guarantee(timed, 4, 60) == check_units(4, units, rank=5, normals=normals, rate=5 / (normals + 1))
    assert check_guarantee(timed, units + 5, 60).answer is Answer.BROKEN
    assert check_guarantee(calibrate_scores(scores, None, **options), 4, 60) is None


def test_many_frames_of_one_visit_hold_a_guarantee_and_many_visits_break_it():
    rng = np.random.default_rng(4)
    level = np.repeat(rng.normal(size=120), 300) + 0.1 * rng.normal(size=36000)  # minutes with different levels
    calibration = calibrate_scores(
        level,
        None,
        rate=None,
        kind="held_out",
        bundle="b",
        groups=[f"minute {i // 300}" for i in range(36000)],
        units="frames",
        times_s=np.arange(36000) / 5,
    )
    visit = np.arange(300) / 5
    events = count_events(visit, calibration.block_s)
    assert (events, check_guarantee(calibration, events, 7200).answer) == (1, Answer.HELD)
    events = count_events(np.concatenate([visit + 600 * i for i in range(12)]), calibration.block_s)
    assert (events, check_guarantee(calibration, events, 7200).answer) == (12, Answer.BROKEN)


def test_a_rate_in_time_is_checked_by_its_incidents():
    calibration = replace(
        calibrate_scores(np.arange(9.0), None, rate=None, kind="held_out", bundle="b"),
        rate=Rate(6, "day"), rank=7.0, effective=1.5, block_s=86400.0, dispersion=3.0,
    )  # fmt: skip
    for incidents, answer in ((4, Answer.HELD), (15, Answer.HELD), (40, Answer.BROKEN)):
        check = check_guarantee(calibration, incidents, 86400.0)
        assert check.answer is answer
        assert check == check_incidents(incidents, 1.0, calibrated=6, exposure=1.5, rate=6, dispersion=3.0)


@pytest.mark.parametrize("numbers", [(-1, 5, 1, 9), (6, 5, 1, 9), (0, 5, 0, 9), (0, 5, 10, 9)])
def test_impossible_numbers_are_refused(numbers):
    exceedances, units, rank, normals = numbers
    with pytest.raises(UsageError, match="expected"):
        check_units(exceedances, units, rank=rank, normals=normals, rate=0.1)
    with pytest.raises(UsageError, match="expected"):
        check_incidents(-1, 1, calibrated=0, exposure=1, rate=1, dispersion=2)
    with pytest.raises(UsageError, match="expected"):
        check_incidents(1, 1, calibrated=0, exposure=0, rate=1, dispersion=2)
