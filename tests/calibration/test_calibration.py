import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.errors import CalibrationError, ConfigError
from offnormal.types import Rate


def calibrate(scores, rate=None, **options):
    scores = np.asarray(scores, float)
    return calibrate_scores(scores, scores + 1, rate=rate, kind="held_out", bundle="abc", **options)


def normals(n=200, seed=0):
    return np.random.default_rng(seed).gamma(4, size=n)


def test_thresholds_are_order_statistics_of_scores_and_map_maxima():
    scores = normals()
    calibration = calibrate(scores, Rate(0.05))
    assert calibration.threshold == np.sort(scores)[190]  # k = ceil(201 * 0.95) = 191
    assert calibration.pixel_threshold == np.sort(scores + 1)[190]
    assert (scores > calibration.threshold).mean() <= 0.05


def test_the_default_is_the_smallest_possible_rate_but_at_least_one_percent():
    assert calibrate(normals(20)).rate == Rate(1 / 21)
    assert calibrate(normals(5000)).rate == Rate(0.01)
    assert not calibrate(normals(20)).explicit


def test_a_rate_that_cannot_be_guaranteed_raises_with_the_number_needed():
    with pytest.raises(CalibrationError, match="99"):
        calibrate(normals(50), Rate(0.01))
    with pytest.raises(CalibrationError, match="footage"):
        calibrate(normals(50), Rate(2, "day"))


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")], [float("inf"), 2.0]])
def test_scores_that_are_not_finite_are_refused(scores):
    with pytest.raises(CalibrationError, match="finite"):
        calibrate(scores)


@given(st.integers(2, 300), st.integers(0, 5), st.floats(0.005, 0.4))
def test_verdict_and_p_value_agree(n, seed, rate):
    scores = normals(n, seed)
    if n < (1 - rate) / rate:
        return
    calibration = calibrate(scores, Rate(rate))
    queries = np.concatenate([scores, scores + 1e-9, [0.0, calibration.threshold, 1e3]])
    p_values = calibration.p_value(queries)
    assert ((queries > calibration.threshold) <= (p_values <= rate + 1e-9)).all()
    assert ((p_values > 0) & (p_values <= 1)).all()


def test_p_values_decrease_with_the_score_and_count_the_normals():
    scores = normals()
    calibration = calibrate(scores)
    grid = np.linspace(0, 40, 500)
    p_values = calibration.p_value(grid)
    assert (np.diff(p_values) <= 0).all()
    assert p_values[0] == 1
    naive = [(1 + sum(s >= q for s in scores)) / 201 for q in grid[:100]]
    np.testing.assert_allclose(p_values[:100], naive)
    beyond = calibration.p_value(scores.max() + np.array([0.0, 1.0, 2.0]))
    assert beyond[0] == pytest.approx(2 / 201)
    assert (np.diff(beyond) < 0).all()


@pytest.mark.parametrize("n", [10, 19, 50, 200])
@pytest.mark.parametrize("law", ["exponential", "normal", "gamma"])
def test_small_p_values_are_not_much_too_small(n, law):
    rng = np.random.default_rng(9)
    draw = {"exponential": rng.exponential, "normal": rng.normal, "gamma": lambda size: rng.gamma(3, size=size)}[law]
    p_values = np.concatenate([calibrate(draw(size=n)).p_value(draw(size=400)) for _ in range(400)])
    assert (p_values <= 0.001).mean() <= 0.004


def test_equal_normal_scores_give_finite_p_values():
    p_values = calibrate(np.ones(30)).p_value(np.array([0.5, 1.0, 1.5]))
    assert np.isfinite(p_values).all()
    assert p_values[0] == 1
    assert p_values[2] < 1 / 31


def test_conformal_p_values_of_fresh_normals_are_valid():
    rng = np.random.default_rng(3)
    hits = [calibrate(rng.normal(size=99)).p_value(rng.normal(size=1))[0] <= 0.05 for _ in range(1500)]
    assert np.mean(hits) <= 0.065


def test_json_restores_the_calibration_and_detects_edits():
    calibration = calibrate(normals(), groups=["a", "b"] * 100)
    stored = json.loads(json.dumps(calibration.to_json()))
    assert Calibration.from_json(stored) == calibration
    assert calibration.groups == 2
    with pytest.raises(CalibrationError, match="edited"):
        Calibration.from_json({**stored, "threshold": 0.0})
    with pytest.raises(CalibrationError, match="unknown"):
        Calibration.from_json({**stored, "extra": 1})


def test_a_threshold_set_by_hand_has_no_guarantee():
    calibration = calibrate(normals()).with_threshold(2.5)
    assert calibration.verdict(2.6).anomalous
    assert not calibration.verdict(2.5).anomalous
    assert calibration.explanation == "threshold 2.500 set by hand: no guarantee"


@pytest.mark.parametrize(
    ("kind", "units", "basis"),
    [
        ("held_out", "images", "200 held-out normal images"),
        ("leave_one_out", "images", "leave-one-out on 200 training images"),
        ("leave_group_out", "images", "leave-one-lot-out on 200 training images"),
        ("leave_group_out", "frames", "leave-one-video-out on 200 training frames"),
        ("leave_group_out", "clips", "leave-one-original-out on 200 training clips"),
    ],
)
def test_the_explanation_states_the_rate_its_interval_and_its_data(kind, units, basis):
    calibration = calibrate_scores(normals(), None, rate=Rate(0.02), kind=kind, bundle="b", units=units)
    text = "expected false-alarm rate: at most 2 % (95 % CI 0.55-4.3 %), "
    assert calibration.explanation == text + basis


def test_a_share_above_one_is_refused():
    with pytest.raises(ConfigError):
        Rate(1.5)


def test_the_interval_contains_the_rate_when_there_are_few_groups():
    rng = np.random.default_rng(3)
    groups = [str(i) for i in range(4) for _ in range(100)]
    scores = rng.normal(size=400) + np.repeat(rng.normal(0, 5, 4), 100)
    calibration = calibrate_scores(scores, None, rate=None, kind="leave_group_out", bundle="b", groups=groups)
    assert calibration.effective < 6
    low, high = calibration.interval
    assert low < calibration.rate.value < high and high > 0.4


def test_p_values_beyond_the_highest_of_few_normals_match_a_calculation():
    """Normals 1 to 20: the highest five exceed 15 by 3 on average, so 50 has the p-value 1/21 (1 + 30 / (5 * 3))^-5."""
    p_value = calibrate(np.arange(1, 21)).p_value(np.array([20, 20.5, 50]))
    assert p_value == pytest.approx([2 / 21, 1 / 21 * (1 + 0.5 / 15) ** -5, 1 / 21 / 3**5], rel=1e-9)


def test_p_values_beyond_the_highest_of_many_normals_match_a_calculation():
    """Normals 1 to 100: the highest tenth exceeds 90 by 5.5 on average."""
    assert calibrate(np.arange(1, 101)).p_value(np.array([155.0])) == pytest.approx([1 / 101 / 2**10], rel=1e-9)


def test_a_threshold_set_by_hand_replaces_the_pixel_threshold_only_if_scores_are_map_maxima():
    scores = normals()
    calibration = calibrate(scores)
    assert calibration.with_threshold(2.5).pixel_threshold == calibration.pixel_threshold != 2.5
    maxima = calibrate_scores(scores, scores, rate=None, kind="held_out", bundle="b")
    assert maxima.with_threshold(2.5).pixel_threshold == 2.5
    without_maps = calibrate_scores(scores, None, rate=None, kind="held_out", bundle="b")
    assert without_maps.with_threshold(2.5).pixel_threshold is None


def test_time_that_a_clock_skips_is_no_footage():
    """60 bursts of 10 s, one every 10 minutes, are worth as much as 600 s without a break."""
    scores = normals(3000)
    steady = np.arange(3000) / 5
    bursts = steady % 10 + 600 * (steady // 10)
    whole, cut = (
        calibrate(scores, Rate(0.01), groups=["a"] * 3000, units="frames", times_s=times) for times in (steady, bursts)
    )
    assert cut.block_s == pytest.approx(whole.block_s) == pytest.approx(600 / whole.effective)
    assert cut.rank == whole.rank
