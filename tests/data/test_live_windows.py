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
    laid = ResizedFrame(index, index / 5, np.zeros((3, *SIZE), np.uint8))
    return Clip((laid,), (laid,))


def naive(items, length, hop):
    """Windows of each stretch between gaps and lost frames."""
    stretches, found = [[]], []
    for item in items:
        torn = isinstance(item, Gap) or (stretches[-1] and item.index != stretches[-1][-1].index + 1)
        if torn:
            stretches.append([])
        if not isinstance(item, Gap):
            stretches[-1].append(item)
    for stretch in stretches:
        for end in range(length, len(stretch) + 1, hop):
            found.append([one.index for one in stretch[end - length : end]])
    return found


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["frame", "frame", "frame", "gap", "lost"]), max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_windows_are_those_of_each_stretch_and_never_reach_across(happenings, length, hop):
    items = []
    for index, what in enumerate(happenings):  # a gap leaves a number out, as a lost frame does
        items += {"frame": [frame(index)], "gap": [GAP], "lost": []}[what]
    windows = LiveWindows(InputSpec(size=SIZE, frames=length, hop=hop))
    found = [[one.index for one in made.frames] for item in items for made in windows.push(item)]
    assert found == naive(items, length, hop)


def test_a_gap_tears_even_where_no_frame_is_lost():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    found = [windows.push(item) for item in (frame(0), frame(1), GAP, frame(2), frame(3))]
    assert [len(made) for made in found] == [0, 1, 0, 0, 1]


def test_it_says_where_frames_were_lost_without_a_gap():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    said = []
    for item in (frame(0), frame(1), frame(3), GAP, frame(5), frame(6), frame(8)):
        windows.push(item)
        said.append(windows.has_unreported_gap)
    assert [torn for torn, item in zip(said, "ff3G56 8".replace(" ", ""), strict=True) if item != "G"] == [
        False, False, True, False, False, True,
    ]  # fmt: skip


def test_on_a_clock_frames_are_taken_by_their_times():
    windows = LiveWindows(InputSpec(size=SIZE, frames=3, fps=5.0))
    found = [made for index in range(25) for made in windows.push(frame(index, index / 25))]
    assert [[one.index for one in made.frames] for made in found] == [[i - 10, i - 5, i] for i in range(10, 25)]


def test_frames_are_laid_as_a_loader_lays_them():
    windows = LiveWindows(InputSpec(size=(2, 3), frames=2, channels=1))
    windows.push(frame(10))
    (made,) = windows.push(frame(11))
    pixels = stack_clips([made, made])
    assert pixels.shape == (2, 1, 2, 2, 3)
    np.testing.assert_allclose(pixels[0, 0, :, 0, 0], [10 / 255, 11 / 255])


def test_a_clip_over_a_whole_video_is_refused():
    with pytest.raises(ConfigError, match="no end"):
        LiveWindows(InputSpec(size=SIZE, frames=4, sampling="uniform"))


def test_memory_does_not_grow_with_the_gaps():
    windows = LiveWindows(InputSpec(size=SIZE, frames=2))
    for index in range(0, 2000, 2):
        windows.push(frame(index))
    assert len(windows._windows.gaps) == 0


def taken(batch):
    return [(one.source, "gap" if isinstance(one.item, Gap) else one.item.frames[0].index) for one in batch]


def test_a_batch_takes_from_each_source_in_turn_and_in_its_order():
    batches = LiveBatches(batch_size=4, capacity=10, sources=2)
    for source, index in [("a", 0), ("a", 1), ("a", 2), ("b", 7), ("b", 8)]:
        batches.put(source, clip(index))
    assert taken(batches.take(0)) == [("a", 0), ("b", 7), ("a", 1), ("b", 8)]
    assert taken(batches.take(0)) == [("a", 2)]
    assert batches.take(0) == []


def test_a_batch_may_be_kept_small():
    batches = LiveBatches(batch_size=8, wait_s=0, capacity=10, sources=2)
    for source, index in [("a", 0), ("a", 1), ("b", 7)]:
        batches.put(source, clip(index))
    assert taken(batches.take(0, max_clips=2)) == [("a", 0), ("b", 7)]
    assert taken(batches.take(0, max_clips=20)) == [("a", 1)]


def test_who_waits_longest_is_not_left_out_of_small_batches():
    batches = LiveBatches(batch_size=1, wait_s=0, capacity=10, sources=3)
    for source in "abc":
        batches.put(source, clip(0))
        batches.put(source, clip(1))
    assert [taken(batches.take(0))[0] for _ in range(6)] == [
        (s, i) for i, s in [(0, "a"), (1, "a"), (0, "b"), (1, "b"), (0, "c"), (1, "c")]
    ]


def test_gaps_keep_their_place_and_are_never_dropped():
    batches = LiveBatches(batch_size=8, capacity=1)
    for item in (clip(0), GAP, clip(3), clip(4), GAP):
        batches.put("a", item)
    assert taken(batches.take(0)) == [("a", "gap"), ("a", 4), ("a", "gap")]
    assert batches.dropped == {"a": 2}


def test_whoever_is_too_slow_loses_the_oldest_and_only_of_sources_that_drop():
    batches = LiveBatches(batch_size=8, capacity=2, sources=2)
    for index in range(5):
        batches.put("live", clip(index))
    writer = threading.Thread(target=lambda: [batches.put("file", clip(index), drops=False) for index in range(5)])
    writer.start()
    seen = []
    while sum(source == "file" for source, _ in seen) < 5:
        seen += taken(batches.take(5))
    writer.join(5)
    assert [index for source, index in seen if source == "file"] == list(range(5))
    assert [index for source, index in seen if source == "live"] == [3, 4]
    assert batches.dropped == {"live": 3}


def test_a_batch_waits_for_the_other_sources_but_not_long():
    batches = LiveBatches(batch_size=8, wait_s=30, sources=2)
    batches.put("a", clip(0))
    threading.Timer(0.05, lambda: batches.put("b", clip(1))).start()
    assert taken(batches.take(30)) == [("a", 0), ("b", 1)]  # not after 30 s: both are there
    batches = LiveBatches(batch_size=8, wait_s=0.05, sources=2)
    batches.put("a", clip(0))
    assert taken(batches.take(30)) == [("a", 0)]


def test_closing_lets_everybody_go():
    batches = LiveBatches(batch_size=2, capacity=1)
    batches.put("a", clip(0))
    writer = threading.Thread(target=lambda: batches.put("a", clip(1), drops=False))
    writer.start()
    batches.close()
    writer.join(5)
    assert not writer.is_alive()
    assert not batches.put("a", clip(2))
    assert taken(batches.take(None)) == [("a", 0)]
    assert batches.take(None) == []
