import numpy as np
import pytest

from offnormal.metrics.streams import Stream, divide_by_labels, join_series
from offnormal.metrics.video import FrameScores


def video(name, count, *, start=0.0, labels=None, **options):
    return FrameScores(name, np.arange(count, dtype=float), labels, start + np.arange(count) / 10, **options)


def test_a_single_video_is_its_own_stream():
    (only,) = videos = [video("a", 5)]
    assert join_series(videos, Stream((0,), ())) is only


def test_the_time_of_a_stream_continues_and_known_gaps_are_no_footage():
    videos = [video("c", 20), video("a", 10, start=7.0, lost=[3]), video("b", 30)]
    joined = join_series(videos, Stream((1, 0, 2), (0.0, 60.0)))
    assert joined.name == "a to b" and joined.scores.tolist() == [*range(10), *range(20), *range(30)]
    assert joined.times_s[[0, 9, 10, 29, 30]] == pytest.approx([0, 0.9, 1.0, 2.9, 63.0])
    assert joined.clock.seconds == pytest.approx(6.0) and joined.clock.starts.tolist() == [0, 30]
    assert not joined.restarts and set(joined.lost) == {3} and joined.labels is None


def test_the_clock_restarts_after_a_gap_of_unknown_length():
    videos = [video("a", 10, labels=[0] * 10), video("b", 10, labels=[1] * 10, restarts=[5])]
    joined = join_series(videos, Stream((0, 1), (None,)))
    assert joined.restarts == {10, 15} and joined.clock.seconds == pytest.approx(2.0)
    assert joined.labels.tolist() == [False] * 10 + [True] * 10


def test_a_video_without_labels_does_not_cost_those_of_the_others():
    videos = [
        video("a", 5, labels=[0] * 5),
        video("b", 5, labels=[1] * 5),
        video("c", 5),
        video("d", 5, labels=[0] * 5),
    ]
    parts = divide_by_labels(videos, Stream((0, 1, 2, 3), (1.0, 2.0, None)))
    assert parts == [Stream((0, 1), (1.0,)), Stream((2,), ()), Stream((3,), ())]
    assert [join_series(videos, part).labels is not None for part in parts] == [True, False, True]
    assert divide_by_labels(videos, Stream((1, 0), (3.0,))) == [Stream((1, 0), (3.0,))]
