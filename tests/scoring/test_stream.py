import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.data.clips import Windows
from offnormal.errors import ConfigError
from offnormal.scoring import FrameStream, ScoredBatch, align
from offnormal.types import Frame, InputSpec, Scores
from tests.items import sample

SIZE = (2, 2)


def frame(index):
    return Frame(index, index / 25, np.zeros((*SIZE, 3), np.uint8))


def scored(rows, frames):
    """A batch of clips with scores (R, K) of frames (R, K); each map is constant and equals the score."""
    score = np.float32(rows).ravel()
    maps = np.broadcast_to(score[:, None, None], (score.size, *SIZE)).copy()
    return ScoredBatch(Scores(score, maps), [sample()] * len(frames), None, np.array(frames, np.int64))


@settings(deadline=None)
@given(
    st.data(),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sets(st.integers(0, 29), max_size=4),
    st.booleans(),
)
def test_frames_are_yielded_in_order_with_the_scores_of_align(data, total, length, hop, lost, hold):
    targets = tuple(data.draw(st.sets(st.integers(0, length - 1), min_size=1))) if length > 1 else (-1,)
    spec = InputSpec(size=SIZE, frames=length, hop=hop, targets=targets)
    decoded = [frame(index) for index in range(total) if index not in lost]
    maker, stream, results, rows, target_indices = Windows(spec), FrameStream(spec, hold=hold), [], [], []
    for decoded_frame in decoded:
        stream.add_frame(decoded_frame)
        for clip in maker.push(decoded_frame):
            target_indices.append([target.index for target in clip.targets])
            rows.append([hash((index, decoded_frame.index)) % 97 for index in target_indices[-1]])
            results += stream.add_scores(scored([rows[-1]], [target_indices[-1]]))
            assert len(stream._frames) <= length + hop + 1 or len(rows) == 1
    results += stream.finish()
    assert [result.frame.index for result in results] == [result.index for result in decoded]
    if not decoded:
        return
    shape = (len(rows), len(targets))
    frame_count = decoded[-1].index + 1
    expected = align(
        np.reshape(rows, shape),
        np.reshape(target_indices, shape).astype(int),
        frame_count,
        hop=hop,
        gaps=maker.gaps,
        hold=hold,
    )
    indices = [result.index for result in decoded]
    np.testing.assert_array_equal([result.score for result in results], expected.score[indices])
    np.testing.assert_array_equal([result.map is not None for result in results], ~np.isnan(expected.score[indices]))
    for result in results:
        assert result.map is None or np.allclose(result.map, result.score)
        assert result.held == bool(not expected.covered[result.frame.index] and result.map is not None)


def test_a_frame_is_yielded_as_soon_as_its_score_is_final():
    stream = FrameStream(InputSpec(size=SIZE, frames=3, targets=(0, 2)))
    for index in range(4):
        stream.add_frame(frame(index))
    first = list(stream.add_scores(scored([[1, 3]], [[0, 2]])))
    assert [(result.frame.index, result.score) for result in first] == [(0, 1)], "no later clip contains it"
    second = list(stream.add_scores(scored([[5, 7]], [[1, 3]])))
    assert [(result.frame.index, result.score) for result in second] == [(1, 5)]
    assert [result.score for result in stream.finish()] == [3, 7]


def test_on_a_clock_a_frame_may_be_repeated_and_is_yielded_after_the_next_clip():
    stream = FrameStream(InputSpec(size=SIZE, frames=2, fps=5.0, targets=(0, 1)))
    for index in range(2):
        stream.add_frame(frame(index))
    assert list(stream.add_scores(scored([[1, 3]], [[0, 0]]))) == []
    assert [result.score for result in [*stream.add_scores(scored([[5, 7]], [[0, 1]])), *stream.finish()]] == [3, 7]


def test_the_score_of_a_whole_clip_counts_for_all_its_frames():
    stream = FrameStream(InputSpec(size=SIZE, frames=3, targets=()))
    for index in range(4):
        stream.add_frame(frame(index))
    results = [*stream.add_scores(scored([[2], [4]], [[0, 2], [1, 3]])), *stream.finish()]
    assert [result.score for result in results] == [2, 3, 3, 4]


def test_batches_of_images_are_rejected():
    stream = FrameStream(InputSpec(size=SIZE))
    with pytest.raises(ConfigError, match="expects batches of a VideoLoader"):
        list(stream.add_scores(ScoredBatch(Scores(np.zeros(1, np.float32), None), [sample()])))
