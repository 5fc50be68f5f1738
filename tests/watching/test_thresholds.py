"""From which score on events open, where they end, and what that promises."""

import numpy as np
import pytest

from offnormal.errors import CalibrationError, UsageError
from tests.watching.test_recordings import watch
from tests.watching.yard import QUICK_RULES


def test_a_budget_is_found_out_once_and_anew_where_something_changed(yard, tmp_path, monkeypatch):
    given = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    first = watch(yard, tmp_path, **given)
    found = first.thresholds(first.setups[0])
    assert "60 per hour" in found.promise and "would have raised" in found.promise

    def again(setup, videos, *_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr("offnormal.verbs.watch.score_footage", again)
    same = watch(yard, tmp_path, **given)
    assert same.thresholds(same.setups[0]) == found
    named_no_more = watch(yard, tmp_path, rate="60/hour")
    assert named_no_more.thresholds(named_no_more.setups[0]).threshold == found.threshold
    rules = [{"rules": {**QUICK_RULES, **change}} for change in ({"hysteresis": 0.3}, {"cool_down": 9})]
    for change in ({"rate": "90/hour"}, *rules, {"fps": 5}):
        other = watch(yard, tmp_path, **{**given, **change})
        with pytest.raises(AssertionError, match="measured"):
            other.thresholds(other.setups[0])


def test_a_rate_that_nothing_promises_is_refused_with_what_would(yard, tmp_path):
    with pytest.raises(CalibrationError, match="needs 12 h"):
        it = watch(yard, tmp_path, rate="2/day", calibrate_on=[yard / "calm.mp4"])
        it.thresholds(it.setups[0])
    with pytest.raises(CalibrationError, match="--calibrate-on DIR"):
        it = watch(yard, tmp_path, rate="2/day")
        it.thresholds(it.setups[0])
    with pytest.raises(CalibrationError, match="fitted on"):
        it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "data" / "train"])
        it.thresholds(it.setups[0])


def test_a_threshold_by_hand_promises_nothing(yard, tmp_path):
    (run,) = watch(yard, tmp_path, threshold=1e9).dry_runs()
    assert run.events == [] and "nothing is promised" in run.thresholds.promise


def test_by_hand_an_event_ends_a_share_of_the_way_to_usual_scores(yard, tmp_path):
    it = watch(yard, tmp_path, threshold=1e3, rules={**QUICK_RULES, "hysteresis": 0.25})
    found, stored = it.thresholds(it.setups[0]), it.setups[0].bundle.calibration
    assert found.low == pytest.approx(1e3 - 0.25 * (1e3 - np.median(stored.scores)))
    assert found.calibration.threshold == 1e3 and found.calibration.by_hand


def test_those_of_the_bundle_promise_no_number_of_events(yard, tmp_path):
    it = watch(yard, tmp_path, rules={**QUICK_RULES, "hysteresis": 0.5})
    found, stored = it.thresholds(it.setups[0]), it.setups[0].bundle.calibration
    assert found.threshold == stored.threshold
    assert found.low == pytest.approx((stored.threshold + np.median(stored.scores)) / 2)
    assert "no number of events is promised" in found.promise


def test_a_budget_of_other_rules_is_refused_where_no_footage_is_named(yard, tmp_path):
    first = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"])
    first.thresholds(first.setups[0])
    other = watch(yard, tmp_path, rate="60/hour", rules={**QUICK_RULES, "cool_down": 9})
    with pytest.raises(CalibrationError, match="--calibrate-on DIR"):
        other.thresholds(other.setups[0])


def test_a_budget_file_that_cannot_be_read_is_named_and_made_anew(yard, tmp_path, caplog):
    (tmp_path / "budgets").mkdir()
    (tmp_path / "budgets" / "odd.json").write_text("{")
    it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"])
    assert "60 per hour" in it.thresholds(it.setups[0]).promise
    assert "odd.json: cannot be used" in caplog.text


def test_footage_that_is_not_there_is_refused(yard, tmp_path):
    (tmp_path / "empty").mkdir()
    it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[tmp_path / "empty"])
    with pytest.raises(UsageError, match="no video in"):
        it.thresholds(it.setups[0])
