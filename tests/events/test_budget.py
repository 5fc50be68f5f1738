import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.calibration.guarantee import rate_interval
from offnormal.errors import CalibrationError
from offnormal.events.budget import AlarmBudget, _opening_levels, budget_events
from offnormal.events.machine import EventMachine, EventRules
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

RULES = EventRules(min_duration_s=1, merge_gap_s=5)


def hours(number, *, fps=5.0, seed=0, burst=0):
    """`number` videos of an hour: slow noise, fast noise, and `burst` single frames with far too high scores."""
    rng = np.random.default_rng(seed)
    frames = int(3600 * fps)
    for i in range(number):
        scores = np.repeat(rng.normal(0, 1, frames // 25), 25) + rng.normal(0, 0.1, frames)
        scores[rng.integers(0, frames, burst)] += 20
        yield FrameScores(f"v{i}", scores, None, np.arange(frames) / fps)


def budget(videos, rate="2/hour", **more):
    options = {"rate": Rate.parse(rate), "rules": RULES, "kind": "held_out", "bundle": "b", "camera": "porch", **more}
    return budget_events(list(videos), None, **options)


def count_events(videos, alarm_budget, rules=RULES):
    """Number of events that the machine opens in some videos."""
    count = 0
    for video in videos:
        machine = EventMachine(rules, alarm_budget.calibration.threshold, alarm_budget.low_threshold)
        count += sum(not occurrence.is_over for occurrence in machine.push_all(video.times_s, video.scores))
    return count


score = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")))
gap = st.sampled_from([0.2, 0.5, 1.0, 4.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(gap, score), min_size=1, max_size=60), st.sampled_from([0.0, 0.4, 1.0, 2.5]))
def test_a_threshold_below_the_level_opens_an_event_there_and_one_above_does_not(steps, duration):
    times = np.round(np.cumsum([step for step, _ in steps]), 3)
    scores = np.array([value for _, value in steps])
    rules = EventRules(min_duration_s=duration, merge_gap_s=0)
    levels = _opening_levels(times, scores, rules)
    for i in range(len(times)):  # by definition, from all runs that end here
        lowest = np.nan
        for j in range(i, -1, -1):
            if np.isnan(scores[j]) or (j < i and times[j + 1] - times[j] > rules.max_gap_s):
                break
            if times[i] - times[j] >= duration:
                lowest = scores[j : i + 1].min()
                break
        assert levels[i] == lowest or (np.isnan(levels[i]) and np.isnan(lowest))
    for threshold in (0.5, 2.5, 4.5):
        occurrences = EventMachine(rules, threshold).push_all(times, scores)
        opened = [occurrence.end_s for occurrence in occurrences if not occurrence.is_over]
        first = times[levels > threshold][:1].tolist()
        assert opened[:1] == first


def test_the_budget_holds_on_other_footage():
    rates = [count_events(hours(8, seed=100 + seed), budget(hours(8, seed=seed))) / 8 for seed in range(8)]
    assert 0.5 < np.mean(rates) <= 2.3


def test_single_high_frames_do_not_raise_the_threshold():
    clean, spiked = budget(hours(6)), budget(hours(6, burst=40))
    assert spiked.calibration.threshold == pytest.approx(clean.calibration.threshold, abs=0.1)
    without = budget(hours(6, burst=40), rules=EventRules(min_duration_s=0))
    assert without.calibration.threshold > 15


def test_events_of_the_calibration_footage_fit_the_guarantee():
    videos = list(hours(6))
    alarm_budget = budget(videos)
    assert alarm_budget.events == count_events(videos, alarm_budget) <= 12
    low, high = alarm_budget.calibration.interval
    assert low < 2 <= high and alarm_budget.hours == 6
    assert f"6 h of footage, with {alarm_budget.events} events" in alarm_budget.explanation
    assert alarm_budget.low_threshold < alarm_budget.calibration.threshold


def test_many_short_events_in_one_block_raise_the_threshold():
    def with_bursts(number):
        for video in hours(number):
            scores = video.scores.copy()
            for start in range(9000, 9300, 30):  # one minute with ten events
                scores[start : start + 8] += 30
            yield FrameScores(video.name, scores, None, video.times_s)

    rules = EventRules(min_duration_s=1, merge_gap_s=0.5)
    alarm_budget = budget(with_bursts(6), rules=rules)
    assert alarm_budget.events <= 12, "sixty events in six blocks"
    assert alarm_budget.calibration.threshold > 25


def test_too_little_footage_is_refused_with_the_rate_it_can_guarantee():
    with pytest.raises(
        CalibrationError, match=r"2 per day cannot be guaranteed from 3 h.* set a rate of ([\d.]+) per day"
    ):
        budget(hours(3), "2/day")
    with pytest.raises(CalibrationError, match=r"from 0 s of footage.*set a higher rate"):
        budget([FrameScores("short", [1.0, 2.0], None, [0.0, 0.2])])


def test_the_rate_in_a_refusal_can_be_guaranteed():
    with pytest.raises(CalibrationError) as refusal:
        budget(hours(3), "2/day")
    guaranteed_rate = str(refusal.value).split("set a rate of ")[1].split(" or more")[0].replace(" per ", "/")
    assert budget(hours(3), guaranteed_rate).calibration.rate == Rate.parse(guaranteed_rate)


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


def test_footage_without_frame_times_is_refused():
    with pytest.raises(CalibrationError, match="--fps"):
        budget([FrameScores(video.name, video.scores) for video in hours(2)])
    clocked = [FrameScores(video.name, video.scores, fps=5) for video in hours(2)]
    assert budget(clocked).calibration.threshold == budget(hours(2)).calibration.threshold


def minutes(*heights):
    """A video with one score per second: 0, except single frames of these heights every ten seconds."""
    scores = np.zeros(60 * len(heights))
    for minute, values in enumerate(heights):
        for i, value in enumerate(values):
            scores[60 * minute + 10 * (i + 1)] = value
    return FrameScores("v", scores, None, np.arange(float(len(scores))))


SINGLE = EventRules(min_duration_s=0, merge_gap_s=5)


def test_one_event_more_than_allowed_raises_the_threshold():
    """15 per hour is a quarter of the minutes: one of seven may be above, and the highest minute has two events."""
    alarm_budget = budget([minutes([1], [9, 9], [2], [8], [1.5], [2.5], [1])], "15/hour", rules=SINGLE)
    assert alarm_budget.calibration.effective == 7
    assert (alarm_budget.calibration.threshold, alarm_budget.events) == (9, 0)
    single = budget([minutes([1], [9], [2], [8], [1.5], [2.5], [1])], "15/hour", rules=SINGLE)
    assert (single.calibration.threshold, single.events) == (8, 1)


def test_the_interval_counts_several_events_in_one_minute():
    """Two of eleven minutes may be above; one is, because two are equal, but it has two events."""
    heights = [[8], [8], [1], [2], [1], [2.5], [1], [9, 9], [1], [1.5], [1]]
    alarm_budget = budget([minutes(*heights)], "15/hour", rules=SINGLE)
    assert alarm_budget.calibration.effective == 11
    assert (alarm_budget.calibration.threshold, alarm_budget.events, alarm_budget.calibration.rank) == (8, 2, 3)
    low_rate, high_rate = rate_interval(11, 9)
    assert alarm_budget.calibration.interval == pytest.approx((60 * low_rate, 60 * high_rate))


def test_opening_levels_continue_across_exactly_max_gap():
    rules = EventRules(min_duration_s=3, max_gap_s=3)
    np.testing.assert_array_equal(_opening_levels(np.array([0.0, 3, 6]), np.array([5.0, 4, 6]), rules), [np.nan, 4, 4])
    np.testing.assert_array_equal(
        _opening_levels(np.array([0.0, 3.5, 6.5]), np.array([5.0, 4, 6]), rules), [np.nan, np.nan, 4]
    )


def test_lost_frames_interrupt_no_run():
    """Scores hold for 0.4 s: with every 14th frame lost, the levels at the other frames are the same."""
    (whole,) = hours(1)
    lost = list(range(7, len(whole.scores), 14))
    scores = whole.scores.copy()
    scores[lost] = np.nan
    damaged = FrameScores("v", scores, None, whole.times_s, lost=lost)
    remaining = np.delete(np.arange(len(scores)), lost)
    without = FrameScores("v", scores[remaining], None, whole.times_s[remaining])
    alarm_budget, expected = budget([damaged], "12/hour"), budget([without], "12/hour")
    assert alarm_budget.calibration.threshold == expected.calibration.threshold
    assert alarm_budget.events == expected.events
    gaps = budget([FrameScores("v", scores, None, whole.times_s)], "12/hour")
    assert gaps.calibration.threshold < expected.calibration.threshold
