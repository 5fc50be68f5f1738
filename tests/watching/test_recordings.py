"""Dry runs and alarm budgets: the same as the pure machine over the scores that predict gives."""

import numpy as np
import pytest

from offnormal.data.video_loader import VideoLoader
from offnormal.errors import CalibrationError, ConfigError, UsageError
from offnormal.events.machine import EventMachine
from offnormal.scoring import score_videos
from offnormal.verbs.watch import Watch
from offnormal.watching.config import WatchConfig
from tests.footage import FPS
from tests.items import video
from tests.watching.yard import ODD, QUICK_RULES


def watch(yard, out, source="odd.mp4", **given):
    values = {"bundle": yard / "bundle", "out": out, "rules": QUICK_RULES, "threads": 1, **given}
    return Watch(WatchConfig.model_validate({**values, "cameras": [{"source": str(yard / source)}]}))


def test_a_dry_run_raises_what_the_machine_says_of_the_scores(yard, tmp_path):
    it = watch(yard, tmp_path)
    (run,) = it.dry_runs()
    view = it.views[0]
    loader = VideoLoader([video(yard / "odd.mp4", name="odd")], view.bundle.input, batch_size=4)
    (scored,) = score_videos(it._scorer(view), loader)
    machine = EventMachine(view.rules, run.thresholds.threshold, run.thresholds.low)
    times = np.arange(len(scored.aligned.score)) / FPS
    told = [one for one in [*machine.over(times, scored.aligned.score), *machine.finish()] if one.is_over]
    assert [(event.position_s, event.peak_score) for event in run.events] == [(one.start_s, one.peak) for one in told]
    (event,) = run.events
    assert event.position_s == pytest.approx(ODD[0] / FPS) and event.duration_s == pytest.approx(2.0, abs=0.3)
    assert (event.severity, run.frames, run.scored, run.alarms) == ("high", 80, 80, 1)
    assert not list(tmp_path.iterdir()), "nothing is recorded and nobody told"


def test_a_schedule_passes_over_what_lies_outside_of_it(yard, tmp_path):
    with pytest.raises(UsageError, match="--began"):
        watch(yard, tmp_path, schedule="mon 10:00-12:00")
    began = "2026-11-23T10:30+00:00"  # a Monday
    (inside,) = watch(yard, tmp_path, schedule="mon 10:00-12:00", began=began).dry_runs()
    (outside,) = watch(yard, tmp_path, schedule="tue", began=began).dry_runs()
    assert [f"{event.start:%a %H:%M}" for event in inside.events] == ["Mon 10:30"]
    assert outside.events == [] and outside.passed_over == pytest.approx(ODD[1] - ODD[0], abs=2)


def test_zones_count_alone_and_need_a_threshold_of_their_own(yard, tmp_path):
    right, left = "0.5,0 1,0 1,1 0.5,1", "0,0 0.5,0 0.5,1 0,1"  # the square is on the left
    with pytest.raises(CalibrationError, match="other masks and zones"):
        list(watch(yard, tmp_path, zones=[right]).dry_runs())
    budget = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    (nothing,) = watch(yard, tmp_path / "r", zones=[right], **budget).dry_runs()
    (found,) = watch(yard, tmp_path / "l", zones=[left], **budget).dry_runs()
    assert (nothing.alarms, found.alarms) == (0, 1)
    assert found.events[0].conditions is not None
    with pytest.raises(ConfigError, match="leave no pixel"):
        watch(yard, tmp_path, zones=["exclude:0,0 1,0 1,1 0,1"])


def test_a_budget_is_found_out_once_and_anew_where_something_changed(yard, tmp_path, monkeypatch):
    given = {"rate": "60/hour", "calibrate_on": [yard / "calm.mp4"]}
    first = watch(yard, tmp_path, **given)
    found = first.thresholds(first.views[0])
    assert "60 per hour" in found.promise and "would have raised" in found.promise

    def again(view, videos, *_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr("offnormal.verbs.watch.measured", again)
    same = watch(yard, tmp_path, **given)
    assert same.thresholds(same.views[0]) == found
    named_no_more = watch(yard, tmp_path, rate="60/hour")
    assert named_no_more.thresholds(named_no_more.views[0]).threshold == found.threshold
    for change in ({"rate": "90/hour"}, {"hysteresis": 0.3}, {"rules": {**QUICK_RULES, "cool_down_s": 9}}, {"fps": 5}):
        other = watch(yard, tmp_path, **{**given, **change})
        with pytest.raises(AssertionError, match="measured"):
            other.thresholds(other.views[0])


def test_a_rate_that_nothing_promises_is_refused_with_what_would(yard, tmp_path):
    with pytest.raises(CalibrationError, match="needs 12 h"):
        it = watch(yard, tmp_path, rate="2/day", calibrate_on=[yard / "calm.mp4"])
        it.thresholds(it.views[0])
    with pytest.raises(CalibrationError, match="--calibrate-on DIR"):
        it = watch(yard, tmp_path, rate="2/day")
        it.thresholds(it.views[0])
    with pytest.raises(CalibrationError, match="fitted on"):
        it = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "data" / "train"])
        it.thresholds(it.views[0])


def test_a_threshold_by_hand_promises_nothing(yard, tmp_path):
    (run,) = watch(yard, tmp_path, threshold=1e9).dry_runs()
    assert run.events == [] and "nothing is promised" in run.thresholds.promise
