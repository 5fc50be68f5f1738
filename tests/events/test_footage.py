import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import CalibrationError
from offnormal.events.footage import Footage, opening_levels
from offnormal.events.incidents import alert_times
from offnormal.events.machine import EventMachine, EventRules
from offnormal.metrics.video import FrameScores

RULES = EventRules(min_duration_s=1, merge_gap_s=5, incident_gap_s=60, renew_s=300, max_duration_s=1e9)


def noise(hours=1.0, seed=0, **more):
    """A video at 1 fps whose level changes every ten seconds."""
    rng = np.random.default_rng(seed)
    frames = int(3600 * hours)
    scores = np.repeat(rng.normal(0, 1, frames // 10), 10) + rng.normal(0, 0.1, frames)
    scores[-10:] = -9.0  # no event is open at the end
    return FrameScores("v", scores, None, np.arange(float(frames)), **more)


def test_the_ladder_counts_what_a_machine_at_each_threshold_finds():
    video = noise()
    footage = Footage([video], RULES)
    assert len(footage.ladder) == 60 and footage.ladder == sorted(footage.ladder, reverse=True)
    for threshold in footage.ladder:
        machine = EventMachine(RULES, threshold, threshold - 0.1)
        occurrences = [*machine.push_all(video.times_s, video.scores), *machine.finish()]
        events = [(event.start_s, event.end_s) for event in occurrences if event.is_over]
        rung = footage.count(threshold, threshold - 0.1)
        assert (rung.events, rung.incidents) == (len(events), len(alert_times(events, RULES)))
    assert footage.count(footage.ladder[0], footage.ladder[0]).events == 0
    assert footage.count(footage.ladder[1], footage.ladder[1]).events == 1


def test_videos_of_a_camera_are_counted_one_after_the_other():
    videos = [noise(seed=seed) for seed in range(3)]
    footage = Footage(videos, RULES)
    singles = [Footage([video], RULES).count(1.5, 1.4).incidents for video in videos]
    assert footage.hours == 3 and footage.count(1.5, 1.4).incidents == sum(singles) > 3


def test_the_dispersion_is_that_of_blocks_of_three_hours():
    calm = np.zeros(12 * 3600)
    calm[[1000, 2000, 3000, 4000, 5000, 6000]] = 9.0  # all in the first of four blocks
    rules = EventRules(min_duration_s=0, incident_gap_s=60)
    footage = Footage([FrameScores("v", calm, None, np.arange(float(len(calm))))], rules)
    rung = footage.count(5.0, 5.0)
    assert (rung.incidents, rung.dispersion) == (6, pytest.approx(6.0)) and rung.minutes == 6


def test_only_scored_footage_counts():
    whole = noise()
    scores = whole.scores.copy()
    scores[:600] = np.nan
    assert Footage([FrameScores("v", scores, None, whole.times_s)], RULES).hours == pytest.approx(5 / 6)
    thinned = np.where(np.arange(3600) % 10 == 0, whole.scores, np.nan)
    assert Footage([FrameScores("v", thinned, None, whole.times_s, is_thinned=True)], RULES).hours == 1
    bursts = np.arange(3600) // 10 * 590  # ten seconds every ten minutes
    assert Footage([FrameScores("v", whole.scores, None, whole.times_s + bursts)], RULES).hours == 1


def test_footage_without_frame_times_is_refused():
    with pytest.raises(CalibrationError, match="--fps"):
        Footage([FrameScores("v", [1.0, 2.0])], RULES)
    assert Footage([FrameScores("v", [1.0] * 30, fps=1)], RULES).hours == pytest.approx(30 / 3600)


def test_minutes_without_a_value_have_no_maximum():
    footage = Footage([FrameScores("v", np.arange(180.0), None, np.arange(180.0))], RULES)
    peaks = np.arange(180.0)
    peaks[60:120] = np.nan
    assert footage.minute_maxima([peaks]).tolist() == [59, 179]
    assert footage.levels.tolist() == [58, 118, 178]  # a score must be above the threshold for a second


score = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")))
gap = st.sampled_from([0.2, 0.5, 1.0, 4.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(gap, score), min_size=1, max_size=60), st.sampled_from([0.0, 0.4, 1.0, 2.5]))
def test_a_threshold_below_the_level_opens_an_event_there_and_one_above_does_not(steps, duration):
    times = np.round(np.cumsum([step for step, _ in steps]), 3)
    scores = np.array([value for _, value in steps])
    rules = EventRules(min_duration_s=duration, merge_gap_s=0)
    levels = opening_levels(times, scores, rules)
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


def testopening_levels_continue_across_exactly_max_gap():
    rules = EventRules(min_duration_s=3, max_gap_s=3)
    np.testing.assert_array_equal(opening_levels(np.array([0.0, 3, 6]), np.array([5.0, 4, 6]), rules), [np.nan, 4, 4])
    np.testing.assert_array_equal(
        opening_levels(np.array([0.0, 3.5, 6.5]), np.array([5.0, 4, 6]), rules), [np.nan, np.nan, 4]
    )
