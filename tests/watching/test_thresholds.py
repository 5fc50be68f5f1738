"""The thresholds of a camera and their guarantee."""

import numpy as np
import pytest

from offnormal.errors import CalibrationError, UsageError
from offnormal.watching.pipeline import exclusive_folder
from tests.watching.test_recordings import watch
from tests.watching.yard import QUICK_RULES


def test_a_budget_is_computed_again_only_if_something_changed(yard, tmp_path, monkeypatch):
    options = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    first = watch(yard, tmp_path, **options)
    thresholds = first.thresholds(first.setups[0])
    assert "60 per hour" in thresholds.guarantee and " of footage, with" in thresholds.guarantee

    def measure(setup, videos, *_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr("offnormal.verbs.watch.score_footage", measure)
    same = watch(yard, tmp_path, **options)
    assert same.thresholds(same.setups[0]) == thresholds
    without_footage = watch(yard, tmp_path, rate="60/hour")
    assert without_footage.thresholds(without_footage.setups[0]).threshold == thresholds.threshold
    rules = [{"rules": {**QUICK_RULES, **change}} for change in ({"hysteresis": 0.3}, {"cool_down": 9})]
    for change in ({"rate": "90/hour"}, *rules, {"fps": 5}):
        other = watch(yard, tmp_path, **{**options, **change})
        with pytest.raises(AssertionError, match="measured"):
            other.thresholds(other.setups[0])


def test_a_rate_without_a_guarantee_is_refused_with_advice(yard, tmp_path):
    with pytest.raises(CalibrationError, match="needs 12 h"):
        it = watch(yard, tmp_path, rate="2/day", calibrate_on=[yard / "calm.mp4"])
        it.thresholds(it.setups[0])
    with pytest.raises(CalibrationError, match="--calibrate-on DIR"):
        it = watch(yard, tmp_path, rate="2/day")
        it.thresholds(it.setups[0])
    with pytest.raises(CalibrationError, match="trained on"):
        it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "data" / "train"])
        it.thresholds(it.setups[0])


def test_a_threshold_by_hand_has_no_guarantee(yard, tmp_path):
    (run,) = watch(yard, tmp_path, threshold=1e9).dry_runs()
    assert run.events == [] and "set by hand, no guarantee" in run.thresholds.guarantee


def test_by_hand_hysteresis_is_a_share_of_the_distance_to_normal_scores(yard, tmp_path):
    it = watch(yard, tmp_path, threshold=1e3, rules={**QUICK_RULES, "hysteresis": 0.25})
    thresholds, stored = it.thresholds(it.setups[0]), it.setups[0].bundle.calibration
    assert thresholds.low == pytest.approx(1e3 - 0.25 * (1e3 - np.median(stored.scores)))
    assert thresholds.calibration.threshold == 1e3 and thresholds.calibration.by_hand


def test_thresholds_of_the_bundle_guarantee_no_number_of_events(yard, tmp_path):
    it = watch(yard, tmp_path, rules={**QUICK_RULES, "hysteresis": 0.5})
    thresholds, stored = it.thresholds(it.setups[0]), it.setups[0].bundle.calibration
    assert thresholds.threshold == stored.threshold
    assert thresholds.low == pytest.approx((stored.threshold + np.median(stored.scores)) / 2)
    assert "no guarantee for the number of events" in thresholds.guarantee


def test_a_budget_for_other_rules_is_refused_without_footage(yard, tmp_path):
    first = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"])
    first.thresholds(first.setups[0])
    other = watch(yard, tmp_path, rate="60/hour", rules={**QUICK_RULES, "cool_down": 9})
    with pytest.raises(CalibrationError, match="--calibrate-on DIR"):
        other.thresholds(other.setups[0])


def test_an_unreadable_budget_file_is_reported_and_replaced(yard, tmp_path, caplog):
    (tmp_path / "budgets").mkdir()
    (tmp_path / "budgets" / "odd.json").write_text("{")
    it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"])
    assert "60 per hour" in it.thresholds(it.setups[0]).guarantee
    assert "odd.json: damaged" in caplog.text and (tmp_path / "budgets" / "odd.json.damaged").read_text() == "{"


def test_missing_footage_is_refused(yard, tmp_path):
    (tmp_path / "empty").mkdir()
    it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[tmp_path / "empty"])
    with pytest.raises(UsageError, match="no video in"):
        it.thresholds(it.setups[0])


def test_a_check_and_a_dry_run_change_no_file(yard, tmp_path):
    file = tmp_path / "budgets" / "odd.json"
    options = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    (run,) = watch(yard, tmp_path, **options).dry_runs()
    assert "60 per hour" in run.thresholds.guarantee and not list(tmp_path.iterdir())
    file.parent.mkdir()
    file.write_text("{")
    (check,) = watch(yard, tmp_path, **options).check()
    assert check.thresholds is None
    list(watch(yard, tmp_path, **options).dry_runs())
    assert [path.name for path in file.parent.iterdir()] == ["odd.json"] and file.read_text() == "{"


def test_a_watch_changes_no_file_of_a_running_one(yard, tmp_path):
    (tmp_path / "budgets").mkdir()
    (tmp_path / "budgets" / "odd.json").write_text("{")
    second = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"])
    locked = pytest.raises(UsageError, match="another offnormal watch")
    with exclusive_folder(tmp_path), locked, second.running(print):
        pass
    assert [path.name for path in (tmp_path / "budgets").iterdir()] == ["odd.json"]
