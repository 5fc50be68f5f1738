import pytest
import torch

from offnormal.detectors.base import DetectorOptions, StatefulDetector
from offnormal.detectors.parts.stream_states import ParallelStreams, SequentialStreams
from offnormal.types import InputSpec, Output


class Counting(StatefulDetector):
    """The score is the number of earlier samples of the stream."""

    name = "counting"
    updates_online = True
    is_fitted = True
    carries_over = False

    def __init__(self, carries_over=False):
        super().__init__(DetectorOptions(), InputSpec(size=(2, 2)))
        self.carries_over = carries_over

    def forward(self, x):
        return self.step(x, self.initial_state())[0]

    def initial_state(self):
        return torch.zeros(1)

    def step(self, x, state):
        counts = state.expand(len(x), 1)
        return Output(score=counts, map=None, terms={"brightness": x.mean((1, 2, 3))[:, None]}), state + 1


def scores(streams, videos):
    return streams.score(torch.rand(len(videos), 3, 2, 2), videos).score.flatten().tolist()


def test_every_video_starts_from_the_initial_state():
    streams = SequentialStreams(Counting())
    assert scores(streams, "aab") == [0, 1, 0]
    assert scores(streams, "bba") == [1, 2, 0]
    streams.restart()
    assert scores(streams, "a") == [0]


def test_a_state_can_carry_over_to_the_next_video():
    streams = SequentialStreams(Counting(carries_over=True))
    assert scores(streams, "aab") == [0, 1, 2]
    streams.restart()
    assert scores(streams, "b") == [3]


def test_terms_are_those_of_the_clips_in_order():
    x = torch.rand(4, 3, 2, 2)
    output = SequentialStreams(Counting()).score(x, "aabb")
    torch.testing.assert_close(output.terms["brightness"][:, 0], x.mean((1, 2, 3)))
    assert output.map is None


def test_parallel_streams_keep_their_states():
    parallel = ParallelStreams(Counting())
    assert scores(parallel, "abab") == [0, 0, 1, 1]
    assert scores(parallel, "bbca") == [2, 3, 0, 2]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_parallel_streams_score_as_each_alone(batch):
    x, streams = torch.rand(8, 3, 2, 2), "abbacaab"
    parallel = ParallelStreams(Counting())
    pieces = [parallel.score(x[i : i + batch], streams[i : i + batch]) for i in range(0, 8, batch)]
    scores_together = torch.cat([piece.score for piece in pieces])[:, 0]
    for stream in "abc":
        rows = [row for row, other in enumerate(streams) if other == stream]
        alone = SequentialStreams(Counting()).score(x[rows], stream * len(rows))
        torch.testing.assert_close(scores_together[rows], alone.score[:, 0])
        torch.testing.assert_close(
            torch.cat([piece.terms["brightness"] for piece in pieces])[rows], alone.terms["brightness"]
        )
