import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.errors import ConfigError
from offnormal.sources.live_stream import LiveClock, TickSelector


def test_frames_keep_the_spacing_of_the_stream_not_of_the_network():
    clock, rng = LiveClock(1000.0), np.random.default_rng(0)
    times = [clock(7 + i / 25, 1000 + i / 25 + rng.uniform(0, 0.03)) for i in range(200)]
    np.testing.assert_allclose(np.diff(times), 1 / 25, atol=1e-4)
    assert abs(times[0]) < 0.03


def test_without_timestamps_the_arrival_counts():
    clock = LiveClock(50.0)
    assert [clock(None, 50.0), clock(None, 50.3), clock(0.1, 50.5), clock(None, 50.6)] == pytest.approx(
        [0, 0.3, 0.5, 0.6]
    )


def test_a_drifting_clock_is_corrected():
    clock = LiveClock(0.0)
    errors = [clock(i * 1.0002, i * 1.0) - i for i in range(100_000)]  # seconds; the clock is fast by 0.02 %
    assert max(map(abs, errors)) < 0.01


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 60.0])
def test_a_clock_that_jumps_is_tied_to_the_arrival_again(jump):
    clock = LiveClock(0.0)
    times = [clock(i + (jump if i >= 10 else 0), float(i)) for i in range(20)]
    np.testing.assert_allclose(times, range(20), atol=0.1)


def test_after_a_burst_of_old_frames_times_return_to_the_arrival_within_minutes():
    """A camera first sends the last four seconds at once."""
    clock = LiveClock(0.0)
    for i in range(100):
        clock(i / 25, i * 0.002)
    times = [clock(4 + i / 25, 0.2 + i / 25) for i in range(3000)]
    late = np.array(times) - (0.2 + np.arange(3000) / 25)
    assert late[0] > 3
    assert late[-1] < 0.26
    np.testing.assert_allclose(np.diff(times), 1 / 25, rtol=0.041)


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 10)), min_size=1, max_size=50))
def test_times_never_decrease(frames):
    clock, now_s, times = LiveClock(0.0), 0.0, []
    for timestamp, elapsed in frames:
        now_s += elapsed
        times.append(clock(timestamp, now_s))
    assert times == sorted(times)


def select(fps, times):
    ticks = TickSelector(fps)
    return [(i, tick) for i, time in enumerate(times) if (tick := ticks(time)) is not None]


def test_a_faster_source_yields_the_frames_on_the_ticks():
    assert select(5, np.arange(26) / 25) == [(0, 0), (5, 1), (10, 2), (15, 3), (20, 4), (25, 5)]


@pytest.mark.parametrize("fps", [5, 12.5, 29.97])
def test_jitter_costs_a_source_as_fast_as_the_clock_no_frame(fps):
    rng = np.random.default_rng(1)
    times = (np.arange(500) + np.r_[0, rng.uniform(-0.3, 0.3, 499)]) / fps
    assert select(fps, times) == [(i, i) for i in range(500)]


def test_a_slower_source_skips_ticks():
    selected = select(10, np.arange(10) / 4)
    assert [i for i, _ in selected] == list(range(10))
    assert max(abs(tick / 10 - i / 4) for i, tick in selected) <= 0.1


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=80), st.floats(0.5, 30))
def test_every_selected_frame_is_within_a_period_of_its_tick(spacings, fps):
    times = np.cumsum(spacings)
    selected = select(fps, times)
    assert [tick for _, tick in selected] == sorted({tick for _, tick in selected})
    assert all(abs(times[i] - tick / fps) <= 1 / fps for i, tick in selected)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        TickSelector(0)
