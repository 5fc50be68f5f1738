import json

import numpy as np
import pytest

from offnormal.calibration.calibration import Calibration
from offnormal.errors import CalibrationError
from offnormal.events.budget import AlarmBudget, budget_incidents
from offnormal.events.footage import Footage
from offnormal.events.incidents import alert_times
from offnormal.events.machine import EventMachine, EventRules
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

RULES = EventRules(min_duration_s=1, merge_gap_s=5, incident_gap_s=60, renew_s=1800)
OPTIONS = {"rules": RULES, "kind": "held_out", "bundle": "b", "camera": "porch"}


def hours(number, *, fps=5.0, seed=0, burst=0):
    """`number` videos of an hour: slow noise, fast noise, and `burst` single frames with far too high scores."""
    rng = np.random.default_rng(seed)
    frames = int(3600 * fps)
    for i in range(number):
        scores = np.repeat(rng.normal(0, 1, frames // 25), 25) + rng.normal(0, 0.1, frames)
        scores[rng.integers(0, frames, burst)] += 20
        yield FrameScores(f"v{i}", scores, None, np.arange(frames) / fps)


def budget(videos, rate="2/hour", **more):
    return budget_incidents(list(videos), None, **{**OPTIONS, "rate": Rate.parse(rate), **more})


def count_incidents(videos, alarm_budget, rules=RULES):
    """Number of incidents of the events that the machine finds in some videos."""
    count = 0
    for video in videos:
        machine = EventMachine(rules, alarm_budget.calibration.threshold, alarm_budget.low_threshold)
        occurrences = [*machine.push_all(video.times_s, video.scores), *machine.finish()]
        count += len(alert_times([(event.start_s, event.end_s) for event in occurrences if event.is_over], rules))
    return count


def test_the_expected_rate_is_that_of_other_footage_and_the_bound_holds():
    expected, bound = (
        [
            count_incidents(hours(8, seed=100 + seed), budget(hours(8, seed=seed), confidence=confidence)) / 8
            for seed in range(8)
        ]
        for confidence in (None, 95)
    )
    assert 1 < np.mean(expected) < 3
    assert np.mean(bound) < np.mean(expected) and np.mean(np.array(bound) > 2) < 0.2


def test_single_high_frames_do_not_raise_the_threshold():
    clean, spiked = budget(hours(6)), budget(hours(6, burst=40))
    assert spiked.calibration.threshold == pytest.approx(clean.calibration.threshold, abs=0.1)
    without = budget(hours(6, burst=40), rules=RULES.model_copy(update={"min_duration_s": 0}))
    assert without.calibration.threshold > 15


def test_incidents_of_the_calibration_footage_fit_the_rate():
    videos = list(hours(6))
    alarm_budget = budget(videos)
    assert alarm_budget.incidents == count_incidents(videos, alarm_budget) <= 12
    calibration = alarm_budget.calibration
    low, high = calibration.interval
    assert (
        low < 2 < high
        and alarm_budget.hours == 6
        and (calibration.rank, calibration.effective)
        == (
            alarm_budget.incidents + 1,
            6,
        )
    )
    assert f"6 h of footage, with {alarm_budget.incidents} incidents" in alarm_budget.explanation
    assert f"at most 2 per hour, counted in incidents (0-{int(high)} in the next hour, 95 %)" in calibration.explanation
    assert alarm_budget.low_threshold < calibration.threshold
    next_lower = max(level for level in Footage(videos, RULES).ladder if level < calibration.threshold)
    assert Footage(videos, RULES).count(next_lower, alarm_budget.low_threshold).incidents > 12


def test_a_visit_of_many_events_raises_the_threshold_no_more_than_one():
    def with_bursts(number, events):
        for video in hours(number):
            scores = video.scores.copy()
            for start in range(9000, 9000 + 30 * events, 30):
                scores[start : start + 8] += 30
            yield FrameScores(video.name, scores, None, video.times_s)

    rules = RULES.model_copy(update={"merge_gap_s": 0.5})
    single, many = (budget(with_bursts(6, events), rules=rules) for events in (1, 10))
    assert many.incidents == single.incidents <= 12 and many.events > single.events
    assert many.calibration.threshold == single.calibration.threshold
    apart = budget(with_bursts(6, 10), rules=rules.model_copy(update={"incident_gap_s": 0}))
    assert apart.calibration.threshold > 25, "sixty incidents in six hours"


def test_more_footage_supports_at_least_the_same():
    """At one threshold, twice the same footage has the same rate and a lower bound."""
    once, twice = budget(hours(8)), budget([*hours(8), *hours(8)])
    assert twice.calibration.threshold == once.calibration.threshold
    assert np.diff(twice.calibration.interval) <= np.diff(once.calibration.interval)
    sure, surer = (budget(list(hours(8)) * times, confidence=95) for times in (1, 2))
    assert surer.calibration.threshold <= sure.calibration.threshold
    assert "with 95 % confidence, mean false-alarm rate: at most 2 per hour" in sure.calibration.explanation


def test_a_day_of_footage_is_worth_a_day():
    with pytest.raises(CalibrationError, match=r"2 per day cannot be supported by 3 h of footage; it needs 12 h\. Add"):
        budget(hours(3), "2/day")
    assert budget(hours(12), "2/day").incidents <= 1
    with pytest.raises(CalibrationError, match=r"2 per day .* 12 h of footage; it needs 72 h without an incident"):
        budget(hours(12), "2/day", confidence=95)
    with pytest.raises(CalibrationError, match=r"by 0\.4 s of footage; it needs 30 min"):
        budget([FrameScores("short", [1.0, 2.0], None, [0.0, 0.2])])


def test_the_rate_in_a_refusal_is_supported():
    for confidence in (None, 95):
        with pytest.raises(CalibrationError) as refusal:
            budget(hours(3), "2/day", confidence=confidence)
        rate = str(refusal.value).split("set a rate of ")[1].split(" or more")[0].replace(" per ", "/")
        assert budget(hours(3), rate, confidence=confidence).calibration.rate == Rate.parse(rate)


def test_a_rate_above_what_the_gap_between_incidents_allows_is_refused():
    with pytest.raises(CalibrationError, match=r"less than .* apart are one incident: set a lower rate, or a shorter"):
        budget(hours(1), "60/hour")
    assert budget(hours(1), "60/hour", rules=RULES.model_copy(update={"incident_gap_s": 0})).incidents <= 60


def test_a_threshold_within_usual_scores_is_not_chosen():
    """All minutes are in one endless incident at low thresholds, which has few incidents."""
    rules = RULES.model_copy(update={"incident_gap_s": 600, "renew_s": 1e6})
    videos = list(hours(2))
    alarm_budget = budget(videos, "3/hour", rules=rules)
    footage = Footage(videos, rules)
    lowest = footage.ladder[-1]
    assert footage.count(lowest, lowest - 0.1).incidents == 2  # one a video
    assert np.mean(footage.levels > alarm_budget.calibration.threshold) <= 0.25


def test_it_is_refused_for_another_bundle_zones_or_rules():
    alarm_budget = budget(hours(2), setup_hash="z1")
    alarm_budget.require(bundle="b", setup_hash="z1", rules=RULES)
    with pytest.raises(CalibrationError, match=r"belongs to other masks and zones \(z1, now None\).*calibrate"):
        alarm_budget.require(bundle="b", setup_hash=None, rules=RULES)
    with pytest.raises(CalibrationError, match="other rules"):
        alarm_budget.require(bundle="b", setup_hash="z1", rules=EventRules(min_duration_s=2))


def test_it_survives_json():
    alarm_budget = budget(hours(2))
    stored = json.loads(json.dumps(alarm_budget.to_json()))
    assert AlarmBudget.from_json(stored) == alarm_budget
    with pytest.raises(CalibrationError, match="format 7"):
        AlarmBudget.from_json({**stored, "format_version": 7})
    with pytest.raises(CalibrationError, match="expected the second no higher"):
        AlarmBudget.from_json({**stored, "low_threshold": 99.0})


def test_the_pixel_threshold_is_above_the_maps_of_as_many_minutes():
    (video,) = hours(1)
    alarm_budget = budget_incidents([video], [2 * video.scores], **OPTIONS, rate=Rate(4, "hour"))
    levels = Footage([video], RULES).levels
    maxima = np.sort([2 * video.scores[start : start + 300].max() for start in range(0, 18000, 300)])
    above = int((levels > alarm_budget.calibration.threshold).sum())
    assert alarm_budget.calibration.pixel_threshold == maxima[-1 - above]
    assert Calibration.from_json(json.loads(json.dumps(alarm_budget.calibration.to_json()))) == alarm_budget.calibration


def test_lost_frames_interrupt_no_run():
    """Scores hold for 0.4 s: with every 14th frame lost, the levels at the other frames are the same."""
    (whole,) = hours(1)
    lost = list(range(7, len(whole.scores), 14))
    scores = whole.scores.copy()
    scores[lost] = np.nan
    damaged = FrameScores("v", scores, None, whole.times_s, lost=lost)
    remaining = np.delete(np.arange(len(scores)), lost)
    without = FrameScores("v", scores[remaining], None, whole.times_s[remaining])
    alarm_budget, expected = budget([damaged], "3/hour"), budget([without], "3/hour")
    assert alarm_budget.calibration.threshold == expected.calibration.threshold
    assert (alarm_budget.events, alarm_budget.hours) == (expected.events, 1)


def test_an_alarm_that_does_not_end_is_not_an_allowed_incident():
    """Single frames every 4 s open no event, but keep an open one from ending: it is one incident of five minutes."""
    scores = np.ones(1500)
    scores[::20] = 2.0
    scores[10:20], scores[310:320] = 3.0, 1.5
    video, rules = FrameScores("v", scores, None, np.arange(1500) / 5), EventRules(incident_gap_s=0)
    endless = Footage([video], rules).count(1.5, 1.4)
    assert (endless.incidents, endless.minutes) == (1, 1) and endless.in_alarm > 0.9
    assert budget([video], "12/hour", rules=rules).calibration.threshold == 3.0
