import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from offnormal.verbs.alarm_peaks import AlarmPeaks

from offnormal.metrics.operational import operate
from offnormal.metrics.video import FrameScores
from offnormal.scoring import ScoredFrame
from offnormal.types import Frame


def peaks(scores, times, merge_gap_s, *, threshold=1.5, lost=(), thinned=False):
    found = AlarmPeaks(threshold, merge_gap_s)
    given_out = []
    for index, (score, time_s) in enumerate(zip(scores, times, strict=True)):
        if index not in lost:
            one = ScoredFrame(Frame(index, time_s, np.zeros((1, 1, 3), np.uint8)), score, None)
            given_out.append(found.push(one, time_s, thinned=thinned))
    return [one.frame.index for one in [*given_out, found.end()] if one is not None]


@settings(deadline=None)  # the first call imports
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, math.nan]), min_size=2, max_size=40), st.integers(0, 5))
def test_they_are_those_of_the_alarms(scores, gap):
    times = np.arange(len(scores)) / 2
    wanted = operate([FrameScores("a", scores, times_s=times)], 1.5, merge_gap_s=gap / 2).alarms
    assert peaks(scores, times.tolist(), gap / 2) == [alarm.peak for alarm in wanted]


@settings(deadline=None)  # the first call imports
@given(st.sets(st.integers(1, 18)), st.integers(0, 3))
def test_lost_frames_end_a_run(lost, gap):
    scores = [float(2 + index % 3) for index in range(20)]
    times = np.arange(20) / 2
    unscored = [math.nan if index in lost else score for index, score in enumerate(scores)]
    wanted = operate([FrameScores("a", unscored, times_s=times)], 1.5, merge_gap_s=gap / 2).alarms
    assert peaks(scores, times.tolist(), gap / 2, lost=lost) == [alarm.peak for alarm in wanted]


def test_a_jump_of_the_clock_ends_a_run():
    times = np.concatenate([np.arange(5) / 2, 60 + np.arange(5) / 2])
    scores = [2.0, 2, 3, 2, 2, 2, 2, 4, 2, 2]
    wanted = operate([FrameScores("a", scores, times_s=times)], 1.5, merge_gap_s=1.0).alarms
    assert peaks(scores, times.tolist(), 1.0) == [alarm.peak for alarm in wanted] == [2, 7]


def test_frames_left_out_on_purpose_end_no_run():
    assert peaks([2.0, 0, 3.0], [0.0, 1.0, 2.0], 0.0, lost=(1,), thinned=True) == [2]
    assert peaks([2.0, 0, 3.0], [0.0, 1.0, 2.0], 0.0, lost=(1,)) == [0, 2]


def test_without_a_threshold_it_is_the_highest_frame_of_all():
    assert peaks([math.nan, 2.0, -5.0, 7.0, math.nan, 1.0], range(6), math.inf, threshold=-math.inf) == [3]
