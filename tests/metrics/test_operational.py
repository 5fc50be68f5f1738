from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import UsageError
from offnormal.metrics import operational
from offnormal.metrics.operational import operate
from offnormal.metrics.video import FrameScores


def clip(name, scores, labels=None, *, fps=1.0, times=None):
    times = np.arange(len(scores)) / fps if times is None else times
    return FrameScores(name, np.array(scores, float), labels, times)


@st.composite
def footage(draw, name="v", labels=True):
    """A video with runs of scores above 0, runs of labels, frames not scored and uneven frames."""
    size = draw(st.integers(2, 40))
    scores = draw(st.lists(st.sampled_from([-1.0, -1.0, 1.0, 2.0, np.nan]), min_size=size, max_size=size))
    flags = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)) if labels else None
    gaps = draw(st.lists(st.sampled_from([0.25, 0.5, 2.0]), min_size=size, max_size=size))
    return clip(name, scores, flags, times=np.cumsum(gaps))


gaps_s = st.sampled_from([0.0, 0.5, 1.0, 3.0])


def test_doctests():
    assert doctest.testmod(operational).failed == 0


def test_alarms_as_an_operator_counts_them():
    #             0  1  2  3  4  5  6  7  8  9 10 11
    scores =     [0, 9, 0, 9, 0, 0, 0, 9, 9, 0, 0, 9]  # fmt: skip
    labels =     [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0]  # fmt: skip
    found = operate([clip("v", scores, labels)], 5, merge_gap_s=1.0)
    assert [(a.start, a.stop, a.false) for a in found.alarms] == [(1, 4, True), (7, 9, False), (11, 12, True)]
    assert [(s.start, s.stop, s.delay_s) for s in found.spans] == [(6, 9, 1.0), (10, 11, None)]
    assert (found.false_alarms, found.caught, found.missed, found.caught_share) == (2, 1, 1, 0.5)
    assert found.false_alarms_per_hour == 2 * 3600 / 8 and found.alarms_per_hour == 3 * 3600 / 12
    assert found.time_in_alarm == 6 / 12 and found.normal_time_in_alarm == 4 / 8
    assert found.median_delay_s == 1.0


def test_runs_are_joined_up_to_the_gap_and_no_further():
    scores = [9, 0, 0, 9, 0, 0, 0, 9]
    for gap, alarms in ((0, 3), (1.9, 3), (2.0, 2), (3.0, 1)):
        assert len(operate([clip("v", scores)], 5, merge_gap_s=gap).alarms) == alarms


def test_a_score_at_the_threshold_is_no_alarm():
    assert not operate([clip("v", [5, 5])], 5).alarms
    assert operate([clip("v", [5, np.nextafter(5, 6)])], 5).alarms[0].start == 1


def test_an_alarm_that_is_on_already_has_no_delay_and_is_true():
    found = operate([clip("v", [9, 9, 9, 0], [0, 0, 1, 1])], 5)
    assert found.false_alarms == 0 and found.spans[0].delay_s == 0 and found.normal_time_in_alarm == 1


def test_times_come_from_the_clock_of_each_frame():
    found = operate([clip("v", [0, 0, 9, 0], [0, 1, 1, 0], times=[10, 11, 14, 14.5])], 5)
    assert found.spans[0].delay_s == 3.0 and found.spans[0].end_s == 14.5
    assert found.normal_s == 1 + 1, "the last frame lasts as long as the median"


def test_frames_without_a_score_are_neither_footage_nor_missed():
    found = operate([clip("v", [0, np.nan, np.nan, 0], [0, 1, 1, 0])], 5)
    assert (found.caught, found.missed, found.caught_share, found.normal_s) == (0, 0, None, 2.0)
    assert not found.spans[0].scored


def test_without_labels_alarms_are_neither_true_nor_false():
    found = operate([clip("v", [0, 9])], 5)
    assert found.alarms[0].false is None and found.alarms_per_hour == 1800
    assert (found.false_alarms_per_hour, found.caught_share, found.median_delay_s) == (None, None, None)


def test_a_clock_can_be_given():
    assert operate([FrameScores("v", [0, 9], fps=10)], 5).footage_s == pytest.approx(0.2)
    with pytest.raises(UsageError, match="v: has no clock, so nothing can be said per hour"):
        operate([FrameScores("v", [0, 9])], 5)


def test_one_lost_frame_costs_one_frame_and_not_the_clock():
    times = np.arange(1500) / 25
    times[100] = np.nan
    scores = np.where(np.arange(1500) % 500 < 5, 9.0, 0.0)
    scores[100] = np.nan
    found = operate([FrameScores("v", scores, np.zeros(1500), times)], 5)
    assert found.footage_s == pytest.approx(60 - 0.04) and found.false_alarms == 3
    assert found.false_alarms_per_hour == pytest.approx(3 * 3600 / 59.96)


def test_an_alarm_of_a_motion_recording_ends_with_its_burst():
    times = np.concatenate([np.arange(250) / 25 + 600 * burst for burst in range(60)])
    scores = np.tile(np.arange(250) < 170, 60) * 9.0
    scores[250 * 23 :] = 0
    found = operate([clip("v", scores, np.zeros(15000), times=times)], 5)
    assert [alarm.end_s - alarm.start_s for alarm in found.alarms] == pytest.approx([6.8] * 23)
    assert found.footage_s == pytest.approx(600) and found.footage_in_alarm_s == pytest.approx(23 * 6.8)
    always = operate([clip("v", np.full(15000, 9.0), times=times)], 5)
    assert len(always.alarms) == 60, "no alarm reaches over ten minutes that nobody saw"


def test_an_hour_that_was_skipped_is_no_footage():
    times = np.concatenate([np.arange(200) / 25, 3600 + np.arange(200) / 25])
    found = operate([clip("v", np.where(np.arange(400) == 300, 9.0, 0.0), np.zeros(400), times=times)], 5)
    assert found.footage_s == pytest.approx(16) and found.false_alarms_per_hour == pytest.approx(225)
    assert found.alarms[0].start_s == pytest.approx(3604), "where it is in the file"


@pytest.mark.parametrize(("hole_s", "alarms"), [(0.9, 1), (1.1, 2)])
def test_a_short_hole_joins_alarms_as_low_scores_do_and_a_restart_never(hole_s, alarms):
    first = np.arange(50) / 25
    held = clip("v", np.full(100, 9.0), np.ones(100), times=[*first, *(first + 2 + hole_s)])
    found = operate([held], 5)
    assert (len(found.alarms), len(found.spans), found.caught) == (alarms, alarms, alarms)
    assert len(operate([clip("v", np.full(100, 9.0), times=[*first, *first])], 5, merge_gap_s=99).alarms) == 2


@pytest.mark.parametrize("every", [1, 5, 10, 25])
def test_thinning_changes_neither_footage_nor_alarms(every):
    loud = (np.arange(200) >= 50) & (np.arange(200) < 100)
    scores = np.where(np.arange(200) % every == 0, np.where(loud, 9.0, 0.0), np.nan)
    found = operate([FrameScores("v", scores, loud, np.arange(200) / 25, is_thinned=True)], 5)
    assert found.footage_s == pytest.approx(8) and found.normal_s == pytest.approx(6)
    ((start, stop),) = [(alarm.start, alarm.stop) for alarm in found.alarms]
    assert (start, stop, found.spans[0].delay_s) == (50, 100, 0.0)
    assert found.alarms[0].end_s == pytest.approx(4.0)


@pytest.mark.parametrize("given", [{"threshold": np.nan}, {"merge_gap_s": -1}])
def test_mistakes_are_named(given):
    with pytest.raises(UsageError, match="expected a number, and 0 or more seconds"):
        operate([clip("v", [1])], **{"threshold": 1, **given})


@given(footage(), gaps_s)
@settings(max_examples=200, deadline=None)
def test_an_alarm_is_false_or_true_and_true_ones_catch(video, gap):
    """Against plain loops over frames."""
    found = operate([video], 0, merge_gap_s=gap)
    sounding = np.zeros(video.scores.size, bool)
    for alarm in found.alarms:
        assert not sounding[alarm.start : alarm.stop].any(), "alarms do not overlap"
        sounding[alarm.start : alarm.stop] = True
        assert video.scores[alarm.start] > 0 and video.scores[alarm.stop - 1] > 0
        assert alarm.false == (not any(video.labels[alarm.start : alarm.stop]))
        assert video.scores[alarm.peak] == np.nanmax(video.scores[alarm.start : alarm.stop])
    assert sounding[np.nan_to_num(video.scores) > 0].all(), "every frame above the threshold is in an alarm"
    for span in found.spans:
        assert video.labels[span.start : span.stop].all()
        on = [i for i in range(span.start, span.stop) if sounding[i]]
        if span.delay_s is not None:
            assert span.delay_s == video.times_s[on[0]] - video.times_s[span.start]
            assert 0 <= span.delay_s < span.end_s - span.start_s
        elif span.scored:
            assert not on
    assert sum(span.stop - span.start for span in found.spans) == video.labels.sum()
    assert found.caught + found.missed == sum(span.scored for span in found.spans)
    assert 0 <= found.normal_in_alarm_s <= found.normal_s <= found.footage_s


@given(st.lists(footage(), min_size=1, max_size=4), gaps_s)
@settings(max_examples=60, deadline=None)
def test_several_videos_are_the_sum_of_each(videos, gap):
    videos = [FrameScores(f"{i}", v.scores, v.labels, v.times_s) for i, v in enumerate(videos)]
    together = operate(videos, 0, merge_gap_s=gap)
    apart = [operate([video], 0, merge_gap_s=gap) for video in videos]
    assert together.alarms == [alarm for part in apart for alarm in part.alarms]
    assert together.spans == [span for part in apart for span in part.spans]
    for name in ("footage_s", "footage_in_alarm_s", "normal_s", "normal_in_alarm_s"):
        assert getattr(together, name) == pytest.approx(sum(getattr(part, name) for part in apart))


@given(footage())
@settings(max_examples=60, deadline=None)
def test_a_higher_threshold_or_a_wider_gap_never_gives_more_alarms(video):
    counts = [len(operate([video], 0, merge_gap_s=gap).alarms) for gap in (0, 0.5, 2, 10)]
    assert counts == sorted(counts, reverse=True)
    times = [operate([video], threshold, merge_gap_s=0).footage_in_alarm_s for threshold in (-2, 0, 1, 2)]
    assert times == sorted(times, reverse=True)
