import pytest
import torch

from offnormal.detectors.base import DetectorOptions, StatefulDetector
from offnormal.detectors.parts.stream_states import InOrder, SideBySide
from offnormal.types import InputSpec, Output


class Counting(StatefulDetector):
    """Scores by how many it has seen before."""

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
        seen = state.expand(len(x), 1)
        return Output(score=seen, map=None, terms={"brightness": x.mean((1, 2, 3))[:, None]}), state + 1


def scores(order, videos):
    return order.score(torch.rand(len(videos), 3, 2, 2), videos).score.flatten().tolist()


def test_every_video_starts_anew_however_it_is_cut_into_batches():
    order = InOrder(Counting())
    assert scores(order, "aab") == [0, 1, 0]
    assert scores(order, "bba") == [1, 2, 0]
    order.restart()
    assert scores(order, "a") == [0]


def test_a_state_that_is_carried_over_goes_on():
    order = InOrder(Counting(carries_over=True))
    assert scores(order, "aab") == [0, 1, 2]
    order.restart()
    assert scores(order, "b") == [3]


def test_terms_are_those_of_the_clips_in_order():
    x = torch.rand(4, 3, 2, 2)
    found = InOrder(Counting()).score(x, "aabb")
    torch.testing.assert_close(found.terms["brightness"][:, 0], x.mean((1, 2, 3)))
    assert found.map is None


def test_streams_side_by_side_each_go_on_with_their_own_state():
    together = SideBySide(Counting())
    assert scores(together, "abab") == [0, 0, 1, 1]
    assert scores(together, "bbca") == [2, 3, 0, 2]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_streams_side_by_side_are_as_each_alone(batch):
    x, streams = torch.rand(8, 3, 2, 2), "abbacaab"
    together = SideBySide(Counting())
    pieces = [together.score(x[i : i + batch], streams[i : i + batch]) for i in range(0, 8, batch)]
    found = torch.cat([piece.score for piece in pieces])[:, 0]
    for stream in "abc":
        rows = [row for row, one in enumerate(streams) if one == stream]
        alone = InOrder(Counting()).score(x[rows], stream * len(rows))
        torch.testing.assert_close(found[rows], alone.score[:, 0])
        torch.testing.assert_close(
            torch.cat([piece.terms["brightness"] for piece in pieces])[rows], alone.terms["brightness"]
        )
