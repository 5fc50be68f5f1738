"""The one rule of time, against values worked out by hand and a plain loop over frames."""

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import DataError, UsageError
from offnormal.metrics import clock
from offnormal.metrics.clock import Clock, Jumps


def steady(frames, *, fps=25.0, start=0.0):
    return start + np.arange(frames) / fps


def test_doctests():
    assert doctest.testmod(clock).failed == 0


def test_frames_last_until_the_next_one_and_the_last_one_for_the_usual_spacing():
    found = Clock.of([10, 11, 14, 14.5])
    assert found.times_s.tolist() == [10, 11, 14, 14.5]
    assert found.ends_s.tolist() == [11, 14, 14.5, 15.5]
    assert found.seconds == 5.5 and found.edges_s.tolist() == [10, 11, 14, 14.5, 15.5]
    assert found.has_clock and found.interpolated == 0 and found.starts.tolist() == [0]


def test_single_missing_timestamps_lie_between_their_neighbors_and_are_counted():
    times = steady(50)
    given = times.copy()
    given[[0, 7, 20, 21, 49]] = np.nan
    found = Clock.of(given)
    assert found.times_s == pytest.approx(times) and found.seconds == pytest.approx(2.0)
    assert found.interpolated == 5 and found.starts.tolist() == [0]
    assert Clock.of([0, None, 2]).times_s.tolist() == [0, 1, 2]


def test_a_timestamp_that_repeats_the_one_before_does_not_count():
    found = Clock.of([0.0, 1.0, 1.0, 3.0, 3.0])
    assert found.times_s.tolist() == [0, 1, 2, 3, 4] and found.interpolated == 2 and found.seconds == 5


@pytest.mark.parametrize("given", [[], [np.nan] * 3, [None, None], [4.0], [4.0, 4.0], [3.0, 2.0, 1.0]])
def test_without_timestamps_that_rise_there_is_no_clock(given):
    found = Clock.of(given)
    assert not found.has_clock and found.seconds is None
    assert len(found.times_s) == len(found.ends_s) == len(given)


def test_frames_per_second_stand_in_where_timestamps_do_not_tell():
    found = Clock.of([None] * 4, fps=10)
    assert (
        found.has_clock and found.times_s == pytest.approx([0, 0.1, 0.2, 0.3]) and found.seconds == pytest.approx(0.4)
    )
    assert Clock.of([0, 1, 2], fps=25).seconds == 3, "a clock of its own goes before"


def test_a_video_of_one_frame_lasts_as_its_rate_says_and_never_a_second():
    assert Clock.of([0.0], fps=25).seconds == pytest.approx(0.04)
    assert Clock.of([0.0]).seconds is None


def test_a_restart_goes_on_where_the_segment_before_it_ends():
    found = Clock.of([*steady(200), *steady(200)])
    assert found.times_s == pytest.approx(steady(400)) and found.seconds == pytest.approx(16.0)
    assert found.starts.tolist() == [0, 200] and found.restarts == {200}
    lost = [*steady(200), np.nan, np.nan, *steady(200)]
    assert Clock.of(lost).times_s == pytest.approx(steady(402)), "lost frames belong before the restart"
    told = Clock.of(steady(400), restarts=[200])
    assert told.starts.tolist() == [0, 200] and told.restarts == {200}, "of a reader whose times continue"


def test_a_jump_keeps_the_time_of_day_but_is_no_footage():
    given = [*steady(200), *steady(200, start=3608.0)]
    found = Clock.of(given)
    assert found.times_s.tolist() == given and found.seconds == pytest.approx(16.0)
    assert found.starts.tolist() == [0, 200] and not found.restarts
    assert found.ends_s[199] == pytest.approx(8.0) and found.shown_s == pytest.approx(steady(400))


def test_a_motion_recording_lasts_as_long_as_its_bursts():
    found = Clock.of(np.concatenate([steady(250, start=600.0 * burst) for burst in range(60)]))
    assert found.seconds == pytest.approx(600) and len(found.starts) == 60


def test_a_spacing_of_five_times_the_usual_one_is_no_jump_and_more_is_one():
    assert len(Clock.of([0, 1, 2, 3, 8, 9]).starts) == 1
    assert Clock.of([0, 1, 2, 3, 8.01, 9]).starts.tolist() == [0, 4]
    assert len(Clock.of([0, 1, 2, 9]).starts) == 1, "too few spacings are known"
    bursts = np.cumsum(np.tile([0.001, 0.001, 0.001, 0.097], 50))
    assert max(Clock.of(bursts).starts) < 10, "frames that come in bursts, once that is known"


def test_what_the_usual_spacing_allows_counts_not_the_least():
    """Binary fractions, so that five times the usual spacing is exact."""
    spacings = [0.125, *[0.25] * 20]
    at_most, more = (np.cumsum([0, *spacings, last]) for last in (5 * 0.25, 5 * 0.25 + 0.125))
    assert Clock.of(at_most).starts.tolist() == [0]
    assert Clock.of(more).starts.tolist() == [0, 22]
    jumps = Jumps()
    assert [jumps.take(spacing) for spacing in [*spacings, 5 * 0.25]] == [False] * 22
    assert jumps.take(5 * 0.25 + 0.125)


def test_runs_end_at_restarts_and_at_longer_holes():
    flags = np.ones(8, bool)
    assert Clock.of([0, 1, 2, 3, 0, 1, 2, 3]).runs(flags, 1e9) == [(0, 4), (4, 8)]
    jump = Clock.of([0, 1, 2, 3, 10, 11, 12, 13])
    assert jump.runs(flags) == jump.runs(flags, 5.9) == [(0, 4), (4, 8)] and jump.runs(flags, 6.0) == [(0, 8)]
    assert jump.gap_s(3, 4) == 6 and jump.gap_s(2, 5) == 8
    assert Clock.of([0, 1, 2, 0, 1, 2]).gap_s(1, 4) == math.inf


def test_scores_of_thinned_frames_stand_until_the_next_one_of_the_segment():
    found = Clock.of([0, 1, 2, 3, 100, 101, 102, 103])
    held = found.held(np.array([np.nan, 5, np.nan, np.nan, np.nan, 7, np.nan, 2]))
    np.testing.assert_equal(held, [np.nan, 5, 5, 5, np.nan, 7, 7, 2])


@pytest.mark.parametrize(
    ("given", "fps", "error"), [([0, np.inf], None, DataError), ([[0, 1]], None, DataError), ([0], 0, UsageError)]
)
def test_mistakes_are_named(given, fps, error):
    with pytest.raises(error, match=r"v: .*expected"):
        Clock.of(given, fps=fps, name="v")


@given(st.lists(st.sampled_from([0.5, 0.5, 0.5, 1.03, 2.07, 21.3, 0.0, -3.1, None]), min_size=2, max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_the_timestamps_the_axis_rises_and_seconds_add_up(steps):
    times, now = [], 0.0
    for step in steps:
        now += step or 0.0
        times.append(None if step is None else now)
    found = Clock.of(times)
    if not found.has_clock:
        known = [time for time in times if time is not None]
        assert not any(later > before for before, later in pairwise(known))
        return
    assert (np.diff(found.times_s) > 0).all() and (found.durations_s > 0).all()
    assert (found.ends_s[:-1] <= found.times_s[1:] + 1e-9).all(), "no frame is shown while the next one is"
    jumps, expected = Jumps(), [0]
    for frame in range(1, len(times)):
        if frame in found.restarts:
            jumps = Jumps()
            expected.append(frame)
        elif jumps.take(found.times_s[frame] - found.times_s[frame - 1]):
            expected.append(frame)
    assert found.starts.tolist() == expected, "what is told of frames as they come"
    again = Clock.of(found.times_s, restarts=found.restarts)
    assert again.starts.tolist() == expected and again.seconds == pytest.approx(found.seconds), (
        "known from its own axis"
    )
    assert found.shown_s[-1] + found.durations_s[-1] == pytest.approx(found.seconds)
    for start in found.starts.tolist():
        stop = min([later for later in found.starts.tolist() if later > start], default=len(times))
        inside = np.diff(found.times_s[start:stop])
        assert found.durations_s[start : stop - 1] == pytest.approx(inside)
        if inside.size:
            assert found.durations_s[stop - 1] == pytest.approx(np.median(inside))
