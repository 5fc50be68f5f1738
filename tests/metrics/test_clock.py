"""The clock of a video, compared with calculated values and a plain loop over frames."""

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import DataError, UsageError
from offnormal.metrics import clock as clock_module
from offnormal.metrics.clock import Clock, Jumps


def steady(frames, *, fps=25.0, start=0.0):
    return start + np.arange(frames) / fps


def test_doctests():
    assert doctest.testmod(clock_module).failed == 0


def test_frames_last_until_the_next_frame_and_the_last_one_for_the_median_spacing():
    clock = Clock.from_times([10, 11, 14, 14.5])
    assert clock.times_s.tolist() == [10, 11, 14, 14.5]
    assert clock.ends_s.tolist() == [11, 14, 14.5, 15.5]
    assert clock.seconds == 5.5 and clock.edges_s.tolist() == [10, 11, 14, 14.5, 15.5]
    assert clock.has_clock and clock.interpolated == 0 and clock.starts.tolist() == [0]


def test_missing_timestamps_are_interpolated_and_counted():
    times = steady(50)
    stamps = times.copy()
    stamps[[0, 7, 20, 21, 49]] = np.nan
    clock = Clock.from_times(stamps)
    assert clock.times_s == pytest.approx(times) and clock.seconds == pytest.approx(2.0)
    assert clock.interpolated == 5 and clock.starts.tolist() == [0]
    assert Clock.from_times([0, None, 2]).times_s.tolist() == [0, 1, 2]


def test_repeated_timestamps_are_interpolated_and_counted():
    clock = Clock.from_times([0.0, 1.0, 1.0, 3.0, 3.0])
    assert clock.times_s.tolist() == [0, 1, 2, 3, 4] and clock.interpolated == 2 and clock.seconds == 5


@pytest.mark.parametrize("stamps", [[], [np.nan] * 3, [None, None], [4.0], [4.0, 4.0], [3.0, 2.0, 1.0]])
def test_without_rising_timestamps_there_is_no_clock(stamps):
    clock = Clock.from_times(stamps)
    assert not clock.has_clock and clock.seconds is None
    assert len(clock.times_s) == len(clock.ends_s) == len(stamps)


def test_fps_replaces_missing_timestamps_only():
    clock = Clock.from_times([None] * 4, fps=10)
    assert (
        clock.has_clock and clock.times_s == pytest.approx([0, 0.1, 0.2, 0.3]) and clock.seconds == pytest.approx(0.4)
    )
    assert Clock.from_times([0, 1, 2], fps=25).seconds == 3, "timestamps take precedence"


def test_a_video_of_one_frame_lasts_one_frame_period():
    assert Clock.from_times([0.0], fps=25).seconds == pytest.approx(0.04)
    assert Clock.from_times([0.0]).seconds is None


def test_a_segment_after_a_restart_continues_at_the_end_of_the_segment_before():
    clock = Clock.from_times([*steady(200), *steady(200)])
    assert clock.times_s == pytest.approx(steady(400)) and clock.seconds == pytest.approx(16.0)
    assert clock.starts.tolist() == [0, 200] and clock.restarts == {200}
    lost = [*steady(200), np.nan, np.nan, *steady(200)]
    assert Clock.from_times(lost).times_s == pytest.approx(steady(402)), "lost frames belong before the restart"
    reader = Clock.from_times(steady(400), restarts=[200])
    assert reader.starts.tolist() == [0, 200] and reader.restarts == {200}, "the times of a reader continue"


def test_a_jump_stays_on_the_axis_and_is_no_footage():
    stamps = [*steady(200), *steady(200, start=3608.0)]
    clock = Clock.from_times(stamps)
    assert clock.times_s.tolist() == stamps and clock.seconds == pytest.approx(16.0)
    assert clock.starts.tolist() == [0, 200] and not clock.restarts
    assert clock.ends_s[199] == pytest.approx(8.0) and clock.footage_s == pytest.approx(steady(400))


def test_a_motion_recording_lasts_as_long_as_its_bursts():
    clock = Clock.from_times(np.concatenate([steady(250, start=600.0 * burst) for burst in range(60)]))
    assert clock.seconds == pytest.approx(600) and len(clock.starts) == 60


def test_only_a_spacing_above_five_times_the_usual_spacing_is_a_jump():
    assert len(Clock.from_times([0, 1, 2, 3, 8, 9]).starts) == 1
    assert Clock.from_times([0, 1, 2, 3, 8.01, 9]).starts.tolist() == [0, 4]
    assert len(Clock.from_times([0, 1, 2, 9]).starts) == 1, "too few spacings before it"
    bursts = np.cumsum(np.tile([0.001, 0.001, 0.001, 0.097], 50))
    assert max(Clock.from_times(bursts).starts) < 10, "bursts are no jumps after the first ones"


def test_a_jump_is_longer_than_five_usual_spacings():
    """Binary fractions, so that five times the usual spacing is exact."""
    spacings = [0.125, *[0.25] * 20]
    at_most, more = (np.cumsum([0, *spacings, last]) for last in (5 * 0.25, 5 * 0.25 + 0.125))
    assert Clock.from_times(at_most).starts.tolist() == [0]
    assert Clock.from_times(more).starts.tolist() == [0, 22]
    jumps = Jumps()
    assert [jumps.take(spacing) for spacing in [*spacings, 5 * 0.25]] == [False] * 22
    assert jumps.take(5 * 0.25 + 0.125)


def test_runs_end_at_restarts_and_at_long_jumps():
    flags = np.ones(8, bool)
    assert Clock.from_times([0, 1, 2, 3, 0, 1, 2, 3]).runs(flags, 1e9) == [(0, 4), (4, 8)]
    jump = Clock.from_times([0, 1, 2, 3, 10, 11, 12, 13])
    assert jump.runs(flags) == jump.runs(flags, 5.9) == [(0, 4), (4, 8)] and jump.runs(flags, 6.0) == [(0, 8)]
    assert jump.gap_s(3, 4) == 6 and jump.gap_s(2, 5) == 8
    assert Clock.from_times([0, 1, 2, 0, 1, 2]).gap_s(1, 4) == math.inf


def test_scores_of_thinned_frames_hold_until_the_next_one_of_the_segment():
    clock = Clock.from_times([0, 1, 2, 3, 100, 101, 102, 103])
    held = clock.hold_scores(np.array([np.nan, 5, np.nan, np.nan, np.nan, 7, np.nan, 2]))
    np.testing.assert_equal(held, [np.nan, 5, 5, 5, np.nan, 7, 7, 2])


@pytest.mark.parametrize(
    ("stamps", "fps", "error"), [([0, np.inf], None, DataError), ([[0, 1]], None, DataError), ([0], 0, UsageError)]
)
def test_errors_name_the_video_and_the_expected_value(stamps, fps, error):
    with pytest.raises(error, match=r"v: .*expected"):
        Clock.from_times(stamps, fps=fps, name="v")


@given(st.lists(st.sampled_from([0.5, 0.5, 0.5, 1.03, 2.07, 21.3, 0.0, -3.1, None]), min_size=2, max_size=60))
@settings(max_examples=300, deadline=None)
def test_for_any_timestamps_the_axis_rises_and_durations_add_up(steps):
    times, time_s = [], 0.0
    for step in steps:
        time_s += step or 0.0
        times.append(None if step is None else time_s)
    clock = Clock.from_times(times)
    if not clock.has_clock:
        present = [time for time in times if time is not None]
        assert not any(after > before for before, after in pairwise(present))
        return
    assert (np.diff(clock.times_s) > 0).all() and (clock.durations_s > 0).all()
    assert (clock.ends_s[:-1] <= clock.times_s[1:] + 1e-9).all(), "frames do not overlap"
    jumps, expected = Jumps(), [0]
    for frame in range(1, len(times)):
        if frame in clock.restarts:
            jumps = Jumps()
            expected.append(frame)
        elif jumps.take(clock.times_s[frame] - clock.times_s[frame - 1]):
            expected.append(frame)
    assert clock.starts.tolist() == expected, "what is reader of frames as they come"
    rebuilt = Clock.from_times(clock.times_s, restarts=clock.restarts)
    assert rebuilt.starts.tolist() == expected and rebuilt.seconds == pytest.approx(clock.seconds), (
        "present from its own axis"
    )
    assert clock.footage_s[-1] + clock.durations_s[-1] == pytest.approx(clock.seconds)
    for start in clock.starts.tolist():
        stop = min([later for later in clock.starts.tolist() if later > start], default=len(times))
        inside = np.diff(clock.times_s[start:stop])
        assert clock.durations_s[start : stop - 1] == pytest.approx(inside)
        if inside.size:
            assert clock.durations_s[stop - 1] == pytest.approx(np.median(inside))
