from math import comb, exp, factorial

import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.calibration.check import Answer, check_events, check_guarantee, check_units
from offnormal.calibration.footage import calibrate_footage
from offnormal.calibration.guarantee import count_events
from offnormal.errors import UsageError
from offnormal.metrics.video import FrameScores
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


def naive_events(exceedances, hours, allowed, calibrated_hours):
    """P(K >= exceedances): each of allowed + K + 1 ordered events is new with probability hours / all hours."""
    new = hours / (hours + calibrated_hours)
    return 1 - sum(comb(allowed + k, k) * new**k * (1 - new) ** (allowed + 1) for k in range(exceedances))


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


@pytest.mark.parametrize(("hours", "allowed", "calibrated"), [(24, 2, 24), (1, 0, 99), (100, 7, 5)])
def test_p_values_of_events_match_two_competing_poisson_processes(hours, allowed, calibrated):
    for exceedances in range(12):
        check = check_events(exceedances, hours, allowed=allowed, calibrated_hours=calibrated, rate_per_hour=1)
        assert check.p_value == pytest.approx(naive_events(exceedances, hours, allowed, calibrated), abs=1e-12)


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


def test_held_requires_enough_hours_to_detect_ten_times_the_rate():
    """0 allowed in 24 h: in 6 h p(k) = (1/5)^k, so 3 are broken. Ten a day are 2.5 in 6 h: 3 or more with 46 %."""
    few = check_events(0, 6, allowed=0, calibrated_hours=24, rate_per_hour=1 / 24)
    assert 1 - sum(exp(-2.5) * 2.5**k / factorial(k) for k in range(3)) == pytest.approx(0.456, abs=1e-3)
    assert few.answer is Answer.NOT_ENOUGH_DATA
    assert check_events(0, 7, allowed=0, calibrated_hours=24, rate_per_hour=1 / 24).answer is Answer.HELD
    assert check_events(3, 6, allowed=0, calibrated_hours=24, rate_per_hour=1 / 24).answer is Answer.BROKEN
    assert check_events(2, 6, allowed=0, calibrated_hours=24, rate_per_hour=1 / 24).answer is Answer.NOT_ENOUGH_DATA


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


def test_alarms_in_time_are_checked_by_the_effective_hours_of_footage():
    rng = np.random.default_rng(0)
    videos = [FrameScores(f"v{i}", rng.normal(size=3600), None, np.arange(3600.0)) for i in range(4)]
    calibration = calibrate_footage(videos, None, rate=Rate(2, "hour"), kind="held_out", bundle="b")
    hours = calibration.effective / 60
    assert calibration.rank / (calibration.effective + 1) == pytest.approx(2 / 60, rel=0.15)
    expected = check_events(9, 2, allowed=calibration.rank - 1, calibrated_hours=hours, rate_per_hour=2)
    assert check_guarantee(calibration, 9, 7200) == expected
    assert check_guarantee(calibration, 4, 7200).answer is Answer.HELD
    assert check_guarantee(calibration, 30, 7200).answer is Answer.BROKEN


@pytest.mark.parametrize("numbers", [(-1, 5, 1, 9), (6, 5, 1, 9), (0, 5, 0, 9), (0, 5, 10, 9)])
def test_impossible_numbers_are_refused(numbers):
    exceedances, units, rank, normals = numbers
    with pytest.raises(UsageError, match="expected"):
        check_units(exceedances, units, rank=rank, normals=normals, rate=0.1)
    with pytest.raises(UsageError, match="expected"):
        check_events(-1, 1, allowed=0, calibrated_hours=1, rate_per_hour=1)
    with pytest.raises(UsageError, match="expected"):
        check_events(1, 1, allowed=0, calibrated_hours=0, rate_per_hour=1)
