import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from offnormal.errors import ConfigError, DataError
from offnormal.metrics.video import LOST
from offnormal.scoring import alignment
from offnormal.scoring.alignment import EARLY, GAP, LATE, NEVER, _reason, align


def aligned(frames, total, **more):
    frames = np.array(frames).reshape(len(frames), -1)
    return align(frames * 10.0, frames, total, **more)


def spans(result):
    return [tuple(span) for span in result.reasons]


def test_doctests():
    assert doctest.testmod(alignment).failed == 0


def test_overlapping_windows_are_averaged():
    result = align(np.array([[1.0, 2.0], [4.0, 8.0]]), np.array([[0, 1], [1, 2]]), 3)
    assert result.score.tolist() == [1, 3, 8]
    assert result.score.dtype == np.float32
    assert result.covered.all()
    assert result.reasons == []


def test_frames_before_the_first_and_after_the_last_window():
    assert spans(aligned([3, 4, 5], 6)) == [(0, 3, EARLY)]
    assert spans(aligned([2, 3], 6)) == [(0, 2, EARLY), (4, 6, LATE)]


def test_a_video_shorter_than_a_window_has_no_score():
    result = align(np.zeros((0, 1)), np.zeros((0, 1), np.int64), 4)
    assert np.isnan(result.score).all()
    assert spans(result) == [(0, 4, NEVER)]
    assert align(np.zeros((0, 2)), np.zeros((0, 2), np.int64), 0).reasons == []


def test_frames_after_a_gap_differ_from_frames_between_windows():
    assert spans(aligned([2, 4, 9], 10, hop=2)) == [
        (0, 2, EARLY),
        (3, 4, "between windows of hop 2"),
        (5, 9, GAP),
    ]
    assert spans(aligned([0, 9], 10, hop=10, gaps=[5])) == [(1, 9, GAP)]
    assert spans(aligned([0, 1, 2], 5, gaps=[3])) == [(3, 5, GAP)]
    assert spans(aligned([2, 7], 9, hop=None)) == [(0, 2, EARLY), (3, 7, "between windows"), (8, 9, LATE)]


def test_lost_frames_differ_from_frames_without_a_window():
    assert spans(aligned([0, 2], 3, lost=[1])) == [(1, 2, LOST)]
    assert spans(aligned([2, 8], 9, gaps=[6], lost=[4, 5])) == [(0, 2, EARLY), (3, 4, GAP), (4, 6, LOST), (6, 8, GAP)]


def test_scores_are_held_for_less_than_a_hop_and_never_across_a_gap():
    result = aligned([2, 5, 8], 13, hop=3, hold=True)
    np.testing.assert_array_equal(result.score, [np.nan, np.nan, 20, 20, 20, 50, 50, 50, 80, 80, 80, np.nan, np.nan])
    assert np.flatnonzero(result.covered).tolist() == [2, 5, 8]
    assert spans(result)[1] == (3, 5, "held score of frame 2, hop 3")
    assert spans(result)[-1] == (11, 13, LATE)
    interrupted = aligned([0, 6], 7, hop=6, gaps=[3], hold=True)
    np.testing.assert_array_equal(interrupted.score, [0, 0, 0, np.nan, np.nan, np.nan, 60])
    assert spans(interrupted) == [(1, 3, "held score of frame 0, hop 6"), (3, 6, GAP)]
    with pytest.raises(ConfigError, match="use hold=False"):
        aligned([0], 2, hop=None, hold=True)


def test_frames_outside_the_video_and_other_shapes_are_rejected():
    with pytest.raises(DataError, match="the video has 3 frames"):
        aligned([2, 3], 3)
    with pytest.raises(ConfigError, match="windows, targets"):
        align(np.zeros(3), np.zeros((3, 1), np.int64), 4)


@given(st.data(), st.integers(1, 30), st.booleans(), st.integers(1, 6))
def test_every_frame_has_the_mean_of_its_scores_or_is_in_one_span(data, total, hold, hop):
    shape = data.draw(st.tuples(st.integers(0, 12), st.integers(1, 3)))
    frames = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, total - 1)))
    scores = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    gaps = data.draw(st.lists(st.integers(0, total), max_size=3))
    result = align(scores, frames, total, hop=hop, gaps=gaps, hold=hold)
    listed = [frame for span in result.reasons for frame in range(span.start, span.stop)]
    assert sorted([*np.flatnonzero(result.covered), *listed]) == list(range(total))
    for frame in range(total):
        frame_scores = scores[frames == frame]
        if len(frame_scores):
            assert result.score[frame] == pytest.approx(frame_scores.mean(dtype=np.float64), rel=1e-4, abs=1e-4)
        elif not hold:
            assert np.isnan(result.score[frame])
    assert not any(a.stop > b.start for a, b in zip(result.reasons, result.reasons[1:], strict=False))


@pytest.mark.parametrize(
    ("stop", "gaps", "reason"), [(6, [], GAP), (5, [], "between windows of hop 3"), (5, [5], GAP), (5, [3], GAP)]
)
def test_a_whole_hop_without_scores_or_a_gap_at_either_end_is_a_gap(stop, gaps, reason):
    assert _reason(3, stop, 20, 3, gaps) == reason
