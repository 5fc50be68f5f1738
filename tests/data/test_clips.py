import doctest
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.data import clips as clips_module
from offnormal.data.clips import Uniform, Windows, max_clip_count, spread_indices
from offnormal.errors import DataError, counted
from offnormal.metrics import clock
from offnormal.metrics.clock import GAP
from offnormal.types import InputSpec


@dataclass(frozen=True)
class Still:
    index: int
    time_s: float | None = None


def spec(frames, **more):
    return InputSpec(size=(8, 8), frames=frames, **more)


def steady(count, fps=25.0, start=0):
    return [Still(i, i / fps) for i in range(start, start + count)]


def make_clips(maker, frames):
    return [clip for frame in frames for clip in maker.push(frame)] + maker.end()


def indices(clips):
    return [[frame.index for frame in clip.frames] for clip in clips]


def windows(frames, video, **more):
    return indices(make_clips(Windows(spec(frames, **more)), video))


def test_doctests():
    assert doctest.testmod(clips_module).failed == 0


def test_consecutive_frames_with_a_hop():
    assert windows(3, steady(6)) == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert windows(3, steady(10), hop=3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert windows(2, steady(10), hop=4) == [[0, 1], [4, 5], [8, 9]]
    assert windows(1, steady(5), hop=2) == [[0], [2], [4]]
    assert windows(4, steady(3)) == []


def test_without_a_clock_no_times_are_needed():
    assert windows(2, [Still(i) for i in range(3)]) == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("targets", "expected"), [((), ()), ((-1,), (7,)), ((0, -1), (5, 7)), ((1,), (6,)), ((2, 1, 0), (7, 6, 5))]
)
def test_targets_are_frames_of_the_video(targets, expected):
    clips = make_clips(Windows(spec(3, targets=targets)), steady(3, start=5))
    assert [tuple(frame.index for frame in clip.targets) for clip in clips] == [expected]


def test_on_a_clock_each_frame_is_the_last_one_before_its_tick():
    assert windows(3, steady(13), fps=5.0) == [[0, 5, 10], [1, 6, 11], [2, 7, 12]]
    assert windows(3, steady(13), fps=10.0, hop=4) == [[0, 2, 5], [4, 6, 9]]


def test_a_variable_frame_rate_uses_timestamps():
    video = [Still(i, t) for i, t in enumerate([0.0, 0.1, 0.15, 0.2, 0.4, 0.45, 0.6])]
    assert windows(2, video, fps=5.0) == [[0, 3], [3, 4], [3, 5], [4, 6]]


@pytest.mark.parametrize("fps", [24, 25, 30, 29.97, 50, 59.94, 60])
def test_times_rounded_to_milliseconds_lose_no_frame_at_the_native_frame_rate(fps):
    video = [Still(i, round(i / fps, 3)) for i in range(200)]
    assert windows(4, video, fps=float(fps)) == windows(4, video)


def test_a_source_slower_than_the_clock_repeats_frames_and_warns_once():
    maker = Windows(spec(4, fps=10.0))
    assert indices(make_clips(maker, steady(5, fps=5))) == [[0, 1, 1, 2], [1, 2, 2, 3], [2, 3, 3, 4]]
    assert len(maker.warnings) == 1
    assert "slow: the frame rate is below the 10 fps" in maker.warnings[0]


@pytest.mark.parametrize("maker", [Windows(spec(2, fps=5.0)), Windows(spec(2), every_s=1.0)])
def test_a_clock_without_times_is_an_error_with_advice(maker):
    with pytest.raises(DataError, match=r"frame 3 has no time.*use a video file"):
        maker.push(Still(3))


def test_no_clip_spans_a_missing_frame():
    maker = Windows(spec(3, hop=2))
    assert indices(make_clips(maker, [Still(i) for i in (0, 1, 2, 3, 6, 7, 8, 9, 10)])) == [
        [0, 1, 2],
        [6, 7, 8],
        [8, 9, 10],
    ]
    assert maker.gaps == [6]


@pytest.mark.parametrize("jump", [GAP + 0.5, -1.0])
def test_no_clip_spans_a_jump_of_the_clock(jump):
    video = [*steady(6, fps=10), *(Still(i, (i + jump - 1) / 10) for i in range(6, 10))]
    maker = Windows(spec(3))
    assert indices(make_clips(maker, video)) == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [6, 7, 8], [7, 8, 9]]
    assert maker.gaps == [6]


def test_a_short_pause_is_no_gap_and_a_change_of_rate_is_at_most_a_few():
    pause = [*steady(6, fps=10), *(Still(i, (i + GAP - 1.5) / 10) for i in range(6, 9))]
    assert len(windows(3, pause)) == 7
    slower = [*steady(30, fps=25), *(Still(i, 29 / 25 + (i - 29)) for i in range(30, 80))]
    maker = Windows(spec(3))
    make_clips(maker, slower)
    assert 1 <= len(maker.gaps) <= clock._SPACINGS // 2 + 1


def test_bursts_of_frames_are_not_gaps():
    """As from a camera behind a proxy: three at once, then nothing for the time of three."""
    bursts = [Still(i, (i // 3) * 0.12 + (i % 3) * 0.001) for i in range(300)]
    maker = Windows(spec(4))
    assert len(make_clips(maker, bursts)) > 280
    assert len(maker.gaps) <= 1


def test_a_second_gap_is_detected():
    times = [*range(30), *range(40, 70), *range(80, 110)]
    maker = Windows(spec(3))
    make_clips(maker, [Still(i, time / 10) for i, time in enumerate(times)])
    assert maker.gaps == [30, 60]


def test_a_reset_separates_clips():
    maker = Windows(spec(2))
    maker.reset()
    clips = make_clips(maker, steady(3))
    maker.reset()
    clips += make_clips(maker, steady(3, start=3))
    assert indices(clips) == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert maker.gaps == [3]


def test_clips_at_an_interval_of_seconds():
    clips = make_clips(Windows(spec(3, hop=50), every_s=1.0), steady(100))
    assert [clip.targets[0].index for clip in clips] == [2, 27, 52, 77]
    assert len(make_clips(Windows(spec(3), every_s=0.1), steady(1000))) == 399  # 2.5 frames apart, without drifting
    single_frames = make_clips(Windows(spec(1), every_s=2.0), [Still(i, i / 25) for i in (0, 51, 100)])
    assert indices(single_frames) == [[0], [51], [100]]


def test_only_needed_frames_are_buffered():
    for maker, limit in ((Windows(spec(4)), 4), (Windows(spec(4, fps=5.0)), 17), (Windows(spec(2, hop=9)), 2)):
        for frame in steady(500):
            maker.push(frame)
            assert len(maker._ring) <= limit
    maker = Uniform(spec(4))
    for frame in steady(5000):
        maker.push(frame)
        assert len(maker._buffer) <= 4 * clips_module._DENSITY
    with_length = Uniform(spec(4), 5000)
    make_clips(with_length, steady(5000))
    assert len(with_length._buffer) == 4


@pytest.mark.parametrize("length", [1, 2, 7, 32, 33, 100, 1000])
def test_a_uniform_clip_is_spread_over_the_whole_video(length):
    video = [Still(i) for i in range(length)]
    (with_length,) = indices(make_clips(Uniform(spec(4, sampling="uniform"), length), video))
    assert with_length == spread_indices(length, 4)
    (without_length,) = indices(make_clips(Uniform(spec(4, sampling="uniform")), video))
    assert all(
        abs(a - b) <= max(0, length / (clips_module._DENSITY * 2))
        for a, b in zip(with_length, without_length, strict=True)
    )
    assert length > 4 * clips_module._DENSITY or with_length == without_length


def test_of_two_equally_near_frames_the_earlier_one_is_used():
    assert [clips_module._nearest([0, 2, 5], expected) for expected in (0, 1, 2, 3, 4, 9)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("stated", "actual"), [(100, 60), (60, 100), (100, 1)])
def test_a_uniform_clip_of_a_video_of_another_length_warns(stated, actual):
    maker = Uniform(spec(4, sampling="uniform"), stated)
    (clip,) = make_clips(maker, [Still(i) for i in range(actual)])
    assert f"the video has {counted(actual, 'frame')}; expected {stated}" in maker.warnings[0]
    assert len(clip.frames) == 4


def test_no_frames_give_no_clip():
    assert (
        make_clips(Uniform(spec(4)), [])
        == make_clips(Uniform(spec(4), 0), [])
        == make_clips(Windows(spec(4)), [])
        == []
    )


def nine_tenths(spacings):
    """The spacing that at least nine tenths of all others do not exceed."""
    return sorted(spacings)[9 * (len(spacings) - 1) // 10]


def naive_windows(spec, frames):
    """Every window of a whole video in memory, stretch after stretch."""
    stretches, spacings = [], []
    for before, frame in zip([None, *frames], frames, strict=False):
        gap = before is not None and frame.index != before.index + 1
        if before is not None:
            spacing = frame.time_s - before.time_s
            recent = spacings[-clock._SPACINGS :]
            gap |= spacing < 0 or (len(recent) >= clock._MIN_SPACINGS and spacing > GAP * nine_tenths(recent))
            spacings += [spacing] if spacing > 0 else []
        if before is None or gap:
            stretches.append([])
        stretches[-1].append(frame)
    clips = []
    for stretch in stretches:
        ends = []
        for end, last in enumerate(stretch):
            if spec.fps is None:
                clip = stretch[end - spec.frames + 1 : end + 1] if end >= spec.frames - 1 else None
            else:
                ticks = [last.time_s - back / spec.fps + clips_module._ROUNDING_S for back in range(spec.frames)]
                on = [[f for f in stretch[: end + 1] if f.time_s <= tick] for tick in reversed(ticks)]
                clip = [f[-1] for f in on] if all(on) else None
            if clip is not None:
                ends.append(clip)
        clips += ends[:: spec.hop]
    return [([f.index for f in clip], tuple(clip[t].index for t in spec.targets)) for clip in clips]


@st.composite
def videos(draw):
    steps = draw(st.lists(st.tuples(st.sampled_from([1] * 12 + [4]), st.sampled_from(_STEPS)), max_size=60))
    frames, index, time_s = [], draw(st.integers(0, 3)), 0.0
    for skipped, spacing in steps:
        frames.append(Still(index, time_s))
        index, time_s = index + skipped, time_s + spacing
    return frames


_STEPS = [0.04] * 8 + [0.033, 0.05, 0.1, 0.0, 1.0, -0.5]


@given(
    video=videos(),
    frames=st.integers(1, 5),
    fps=st.sampled_from([None, 5.0, 10.0, 25.0, 60.0]),
    hop=st.integers(1, 7),
    data=st.data(),
)
def test_windows_equal_a_naive_reference_for_any_chunk_size(video, frames, fps, hop, data):
    targets = tuple(data.draw(st.lists(st.integers(0, frames - 1), unique=True, max_size=frames)))
    expected = spec(frames, fps=fps, hop=hop, targets=targets)
    maker, clips, remaining = Windows(expected), [], video
    while remaining:
        part = data.draw(st.integers(1, len(remaining)))
        clips += [clip for frame in remaining[:part] for clip in maker.push(frame)]
        remaining = remaining[part:]
    clips += maker.end()
    assert [([f.index for f in clip.frames], tuple(f.index for f in clip.targets)) for clip in clips] == naive_windows(
        expected, video
    )


@given(st.integers(0, 400), st.integers(1, 6), st.sampled_from([None, 5.0, 12.5, 25.0]), st.integers(1, 9))
def test_max_clip_count_is_a_tight_upper_bound(length, frames, fps, hop):
    expected = spec(frames, fps=fps, hop=hop)
    clips = len(make_clips(Windows(expected), steady(length)))
    counted = max_clip_count(expected, length, 25.0)
    assert clips <= counted <= clips + 3
    assert fps is not None or clips == counted


def test_uniform_sampling_makes_one_clip():
    assert [max_clip_count(spec(4, sampling="uniform"), n, 25.0) for n in (0, 1, 100)] == [0, 1, 1]
