import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import UsageError
from offnormal.events.alarms import AlarmPeaks, find_alarms
from offnormal.events.machine import EventMachine, EventRules
from offnormal.metrics.video import FrameScores

RULES = EventRules(min_duration_s=1.0, merge_gap_s=2.0)


def video(scores, step_s=0.5, **more):
    return FrameScores("a", scores, times_s=np.arange(len(scores)) * step_s, **more)


def test_an_alarm_needs_the_minimum_duration():
    assert find_alarms(video([0, 2, 2, 0, 0, 0, 0, 0]), 1.0, RULES) == []  # above from .5 s to 1 s
    (alarm,) = find_alarms(video([0, 2, 3, 2, 0, 0, 0, 0]), 1.0, RULES)
    assert (alarm.start, alarm.stop, alarm.peak) == (1, 4, 2)
    assert (alarm.start_s, alarm.opened_s, alarm.end_s) == (0.5, 1.5, 2.0)


def test_a_lost_frame_interrupts_no_alarm_but_a_missing_score_does():
    scores = [0, 2, math.nan, 2, 0, 0, 0, 0]  # above for 1 s
    (alarm,) = find_alarms(video(scores, lost=[2]), 1.0, RULES)
    assert (alarm.start, alarm.stop, alarm.peak, alarm.opened_s) == (1, 4, 1, 1.5)
    assert find_alarms(video(scores), 1.0, RULES) == []


def test_alarms_within_the_merge_gap_are_one():
    scores = [2, 2, 2, 0, 0, 0, 5, 0] + [0] * 8
    (alarm,) = find_alarms(video(scores), 1.0, RULES)
    assert (alarm.start, alarm.stop, alarm.peak) == (0, 7, 6)
    assert len(find_alarms(video([2, 2, 2, 0, 0, 0, 0, 0, 0, 2, 2, 2, 0]), 1.0, RULES)) == 2


def test_an_alarm_at_the_end_includes_the_last_frame():
    (alarm,) = find_alarms(video([0, 2, 2, 2]), 1.0, RULES)
    assert (alarm.start, alarm.stop, alarm.end_s) == (1, 4, 2.0)


def test_an_alarm_ends_at_the_low_threshold():
    scores = [2, 2, 2, 0.8, 0.8, 0.4, 0, 0, 0, 0]
    assert find_alarms(video(scores), 1.0, RULES, 0.5)[0].stop == 5
    assert find_alarms(video(scores), 1.0, RULES)[0].stop == 3


def test_a_long_alarm_counts_once():
    rules = RULES.model_copy(update={"max_duration_s": 5.0})
    (alarm,) = find_alarms(video([2.0] * 40 + [0] * 10), 1.0, rules)
    assert (alarm.start, alarm.stop) == (0, 40)


def test_a_restart_of_the_clock_ends_an_alarm():
    times = np.tile(np.arange(8) * 0.5, 2)
    restarted = FrameScores("a", [0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0], times_s=times)
    assert [(alarm.start, alarm.stop) for alarm in find_alarms(restarted, 1.0, RULES)] == [(5, 8), (8, 11)]


def test_scores_of_thinned_frames_hold_until_the_next():
    scores = np.full(40, np.nan)
    scores[::10] = [0, 2, 2, 0]  # one every 5 s
    (alarm,) = find_alarms(video(scores, is_thinned=True), 1.0, RULES)
    assert (alarm.start_s, alarm.end_s) == (5.0, 15.0)


def test_a_video_without_a_clock_is_refused():
    with pytest.raises(UsageError, match="--fps"):
        find_alarms(FrameScores("a", [1.0, 2.0]), 1.0, RULES)


FRAME = st.tuples(st.sampled_from([0.25, 0.5, 1.0, 4.0]), st.sampled_from([0.0, 0.6, 2.0, 3.0, math.nan]))


@settings(max_examples=300)
@given(
    st.lists(FRAME, min_size=2, max_size=80),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([0.0, 2.0, 5.0]),
    st.sampled_from([0.0, 3.0, 20.0]),
    st.sampled_from([4.0, 600.0]),
    st.sampled_from([0.5, 1.0]),
)
def test_alarms_are_the_events_of_the_machine(frames, duration, merge_gap, cool_down, longest, low):
    """A long event of the machine is continued by others; an alarm is all of them."""
    rules = EventRules(
        min_duration_s=duration, merge_gap_s=merge_gap, cool_down_s=cool_down, max_duration_s=longest, max_gap_s=3.0
    )
    steps, scores = map(np.array, zip(*frames, strict=True))
    machine = EventMachine(rules, 1.0, low)
    occurrences = [*machine.push_all(np.cumsum(steps), scores), *machine.finish()]
    expected: list[list[float]] = []
    for event in (occurrence for occurrence in occurrences if occurrence.is_over):
        if event.continues_s is None:
            expected.append([event.start_s, event.end_s, event.peak])
        else:
            expected[-1][1:] = event.end_s, max(expected[-1][2], event.peak)
    opened = [event.end_s for event in occurrences if not event.is_over and event.continues_s is None]
    series = FrameScores("a", scores, times_s=np.cumsum(steps))
    alarms = find_alarms(series, 1.0, rules, low)
    assert [[alarm.start_s, scores[alarm.peak]] for alarm in alarms] == [[start, peak] for start, _, peak in expected]
    for alarm, (_, end_s, _) in zip(alarms, expected, strict=True):  # an alarm lasts as long as its last frame
        assert end_s in (alarm.end_s, series.clock.times_s[alarm.stop - 1])
    assert [alarm.opened_s for alarm in alarms] == opened


@given(st.lists(st.sampled_from([0.0, 0.6, 2.0, 3.0, 4.0, math.nan]), min_size=2, max_size=80))
def test_peaks_in_one_pass_are_the_peaks_of_the_alarms(scores):
    series = video(scores)
    peaks = AlarmPeaks(1.0, RULES, 0.5)
    peaks_found = [
        peaks.push(frame, score, time_s)
        for frame, (time_s, score) in enumerate(zip(series.clock.times_s, scores, strict=True))
    ]
    peaks_found.append(peaks.end())
    expected = [alarm.peak for alarm in find_alarms(series, 1.0, RULES, 0.5)]
    assert [frame for frame in peaks_found if frame is not None] == expected


def test_without_a_threshold_the_peak_is_the_highest_frame():
    peaks = AlarmPeaks(None, RULES)
    assert [peaks.push(frame, score, frame / 2) for frame, score in enumerate([1.0, 5.0, math.nan, 2.0])] == [None] * 4
    assert peaks.end() == 1
