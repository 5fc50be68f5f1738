import torch

from offnormal.detectors.base import DetectorOptions, StatefulDetector
from offnormal.detectors.in_order import InOrder
from offnormal.types import InputSpec, Output


class Counting(StatefulDetector):
    """Scores by how many it has seen before."""

    name = "counting"
    learns_on = True
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
        return Output(score=seen, map=None, parts={"brightness": x.mean((1, 2, 3))[:, None]}), state + 1


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


def test_parts_are_those_of_the_clips_in_order():
    x = torch.rand(4, 3, 2, 2)
    found = InOrder(Counting()).score(x, "aabb")
    torch.testing.assert_close(found.parts["brightness"][:, 0], x.mean((1, 2, 3)))
    assert found.map is None
