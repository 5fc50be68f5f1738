import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.live_windows import LiveBatches, LiveWindows, stack_clips
from offnormal.errors import ConfigError
from offnormal.types import Frame, Gap, InputSpec

SIZE = (4, 6)
GAP = Gap(reason="stalled: for a test", arrived_s=0.0, utc_s=0.0)


def frame(index, time_s=None):
    image = np.full((*SIZE, 3), index % 256, np.uint8)
    return Frame(index, index / 5 if time_s is None else time_s, image, 0.0, 0.0)


def clip(index):
    frame_at_size = ResizedFrame(index, index / 5, np.zeros((3, *SIZE), np.uint8))
    return Clip((frame_at_size,), (frame_at_size,))


def naive(items, length, hop):
    """Windows of each segment between gaps and lost frames."""
    segments, windows = [[]], []
    for item in items:
        starts_segment = isinstance(item, Gap) or (segments[-1] and item.index != segments[-1][-1].index + 1)
        if starts_segment:
            segments.append([])
        if not isinstance(item, Gap):
            segments[-1].append(item)
    for segment in segments:
        for end in range(length, len(segment) + 1, hop):
            windows.append([item.index for item in segment[end - length : end]])
    return windows


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["frame", "frame", "frame", "gap", "lost"]), max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_windows_equal_a_naive_reference_and_never_span_a_gap(kinds, length, hop):
    items = []
    for index, kind in enumerate(kinds):  # a gap skips a number, like a lost frame
        items += {"frame": [frame(index)], "gap": [GAP], "lost": []}[kind]
    windows = LiveWindows(InputSpec(size=SIZE, frames=length, hop=hop))
    clip_indices = [[item.index for item in clip.frames] for item in items for clip in windows.push(item)]
    assert clip_indices == naive(items, length, hop)


def test_a_gap_separates_clips_without_a_lost_frame():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    results = [windows.push(item) for item in (frame(0), frame(1), GAP, frame(2), frame(3))]
    assert [len(clips) for clips in results] == [0, 1, 0, 0, 1]


def test_lost_frames_without_a_gap_are_reported():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    flags = []
    for item in (frame(0), frame(1), frame(3), GAP, frame(5), frame(6), frame(8)):
        windows.push(item)
        flags.append(windows.has_unreported_gap)
    assert [flag for flag, item in zip(flags, "ff3G56 8".replace(" ", ""), strict=True) if item != "G"] == [
        False, False, True, False, False, True,
    ]  # fmt: skip


def test_on_a_clock_frames_are_chosen_by_time():
    windows = LiveWindows(InputSpec(size=SIZE, frames=3, fps=5.0))
    clips = [clip for index in range(25) for clip in windows.push(frame(index, index / 25))]
    assert [[item.index for item in clip.frames] for clip in clips] == [[i - 10, i - 5, i] for i in range(10, 25)]


def test_frames_are_resized_as_in_a_loader():
    windows = LiveWindows(InputSpec(size=(2, 3), frames=2, channels=1))
    windows.push(frame(10))
    (clip,) = windows.push(frame(11))
    pixels = stack_clips([clip, clip])
    assert pixels.shape == (2, 1, 2, 2, 3)
    np.testing.assert_allclose(pixels[0, 0, :, 0, 0], [10 / 255, 11 / 255])


def test_uniform_sampling_is_rejected():
    with pytest.raises(ConfigError, match="no end"):
        LiveWindows(InputSpec(size=SIZE, frames=4, sampling="uniform"))


def test_memory_does_not_grow_with_the_gaps():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    for index in range(0, 2000, 2):
        windows.push(frame(index))
    assert len(windows._windows.gaps) == 0


def summarize(batch):
    return [(ready.source, "gap" if isinstance(ready.item, Gap) else ready.item.frames[0].index) for ready in batch]


def test_a_batch_takes_clips_of_each_source_in_turn():
    batches = LiveBatches(batch_size=4, capacity=10, sources=2)
    for source, index in [("a", 0), ("a", 1), ("a", 2), ("b", 7), ("b", 8)]:
        batches.put(source, clip(index))
    assert summarize(batches.take(0)) == [("a", 0), ("b", 7), ("a", 1), ("b", 8)]
    assert summarize(batches.take(0)) == [("a", 2)]
    assert batches.take(0) == []


def test_max_clips_limits_a_batch():
    batches = LiveBatches(batch_size=8, wait_s=0, capacity=10, sources=2)
    for source, index in [("a", 0), ("a", 1), ("b", 7)]:
        batches.put(source, clip(index))
    assert summarize(batches.take(0, max_clips=2)) == [("a", 0), ("b", 7)]
    assert summarize(batches.take(0, max_clips=20)) == [("a", 1)]


def test_small_batches_start_with_the_source_that_waited_longest():
    batches = LiveBatches(batch_size=1, wait_s=0, capacity=10, sources=3)
    for source in "abc":
        batches.put(source, clip(0))
        batches.put(source, clip(1))
    assert [summarize(batches.take(0))[0] for _ in range(6)] == [
        (s, i) for i, s in [(0, "a"), (1, "a"), (0, "b"), (1, "b"), (0, "c"), (1, "c")]
    ]


def test_gaps_keep_their_position_and_are_never_dropped():
    batches = LiveBatches(batch_size=8, capacity=1)
    for item in (clip(0), GAP, clip(3), clip(4), GAP):
        batches.put("a", item)
    assert summarize(batches.take(0)) == [("a", "gap"), ("a", 4), ("a", "gap")]
    assert batches.dropped == {"a": 2}


def test_only_sources_that_drop_lose_their_oldest_clips():
    batches = LiveBatches(batch_size=8, capacity=2, sources=2)
    for index in range(5):
        batches.put("live", clip(index))
    writer = threading.Thread(target=lambda: [batches.put("file", clip(index), drops=False) for index in range(5)])
    writer.start()
    batched = []
    while sum(source == "file" for source, _ in batched) < 5:
        batched += summarize(batches.take(5))
    writer.join(5)
    assert [index for source, index in batched if source == "file"] == list(range(5))
    assert [index for source, index in batched if source == "live"] == [3, 4]
    assert batches.dropped == {"live": 3}


def test_a_batch_waits_for_other_sources_for_a_limited_time():
    batches = LiveBatches(batch_size=8, wait_s=30, sources=2)
    batches.put("a", clip(0))
    threading.Timer(0.05, lambda: batches.put("b", clip(1))).start()
    assert summarize(batches.take(30)) == [("a", 0), ("b", 1)]  # not after 30 s: both are there
    batches = LiveBatches(batch_size=8, wait_s=0.05, sources=2)
    batches.put("a", clip(0))
    assert summarize(batches.take(30)) == [("a", 0)]


def test_closing_wakes_all_threads():
    batches = LiveBatches(batch_size=2, capacity=1)
    batches.put("a", clip(0))
    writer = threading.Thread(target=lambda: batches.put("a", clip(1), drops=False))
    writer.start()
    batches.close()
    writer.join(5)
    assert not writer.is_alive()
    assert not batches.put("a", clip(2))
    assert summarize(batches.take(None)) == [("a", 0)]
    assert batches.take(None) == []
