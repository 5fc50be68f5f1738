import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.data.clips import Windows
from offnormal.errors import ConfigError
from offnormal.scoring import FrameStream, Scored, align
from offnormal.types import Frame, InputSpec, Scores
from tests.items import sample

SIZE = (2, 2)


def frame(index):
    return Frame(index, index / 25, np.zeros((*SIZE, 3), np.uint8))


def scored(rows, frames):
    """A batch of clips with scores (R, K) of frames (R, K); each map is the score everywhere."""
    score = np.float32(rows).ravel()
    maps = np.broadcast_to(score[:, None, None], (score.size, *SIZE)).copy()
    return Scored(Scores(score, maps), [sample()] * len(frames), None, np.array(frames, np.int64))


@settings(deadline=None)
@given(
    st.data(),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sets(st.integers(0, 29), max_size=4),
    st.booleans(),
)
def test_frames_come_in_order_with_the_scores_of_align(data, total, length, hop, lost, hold):
    targets = tuple(data.draw(st.sets(st.integers(0, length - 1), min_size=1))) if length > 1 else (-1,)
    spec = InputSpec(size=SIZE, frames=length, hop=hop, targets=targets)
    read = [frame(index) for index in range(total) if index not in lost]
    maker, stream, given_out, rows, spoken = Windows(spec), FrameStream(spec, hold=hold), [], [], []
    for one in read:
        stream.see(one)
        for clip in maker.push(one):
            spoken.append([target.index for target in clip.targets])
            rows.append([hash((index, one.index)) % 97 for index in spoken[-1]])
            given_out += stream.take(scored([rows[-1]], [spoken[-1]]))
            assert len(stream._frames) <= length + hop + 1 or len(rows) == 1
    given_out += stream.end()
    assert [one.frame.index for one in given_out] == [one.index for one in read]
    if not read:
        return
    shape = (len(rows), len(targets))
    length_seen = read[-1].index + 1
    wanted = align(
        np.reshape(rows, shape), np.reshape(spoken, shape).astype(int), length_seen, hop=hop, gaps=maker.gaps, hold=hold
    )
    places = [one.index for one in read]
    np.testing.assert_array_equal([one.score for one in given_out], wanted.score[places])
    np.testing.assert_array_equal([one.map is not None for one in given_out], ~np.isnan(wanted.score[places]))
    for one in given_out:
        assert one.map is None or np.allclose(one.map, one.score)
        assert one.held == bool(not wanted.covered[one.frame.index] and one.map is not None)


def test_a_frame_is_given_as_soon_as_nothing_more_can_be_said_of_it():
    stream = FrameStream(InputSpec(size=SIZE, frames=3, targets=(0, 2)))
    for index in range(4):
        stream.see(frame(index))
    first = list(stream.take(scored([[1, 3]], [[0, 2]])))
    assert [(one.frame.index, one.score) for one in first] == [(0, 1)], "no later clip begins with it"
    second = list(stream.take(scored([[5, 7]], [[1, 3]])))
    assert [(one.frame.index, one.score) for one in second] == [(1, 5)]
    assert [one.score for one in stream.end()] == [3, 7]


def test_on_a_clock_a_frame_may_be_repeated_and_is_given_behind_the_next_clip():
    stream = FrameStream(InputSpec(size=SIZE, frames=2, fps=5.0, targets=(0, 1)))
    for index in range(2):
        stream.see(frame(index))
    assert list(stream.take(scored([[1, 3]], [[0, 0]]))) == []
    assert [one.score for one in [*stream.take(scored([[5, 7]], [[0, 1]])), *stream.end()]] == [3, 7]


def test_a_clip_as_a_whole_speaks_of_all_its_frames():
    stream = FrameStream(InputSpec(size=SIZE, frames=3, targets=()))
    for index in range(4):
        stream.see(frame(index))
    found = [*stream.take(scored([[2], [4]], [[0, 2], [1, 3]])), *stream.end()]
    assert [one.score for one in found] == [2, 3, 3, 4]


def test_batches_of_pictures_are_refused():
    stream = FrameStream(InputSpec(size=SIZE))
    with pytest.raises(ConfigError, match="takes those of a VideoLoader"):
        list(stream.take(Scored(Scores(np.zeros(1, np.float32), None), [sample()])))
