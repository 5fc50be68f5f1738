import pytest

from offnormal.config import TrainConfig
from offnormal.training.settings import plan
from offnormal.types import InputSpec
from tests.training.tiny import Plain, TinyOptions


class Counted(Plain):
    """Of a method that says how many steps it needs, however many samples there are."""

    default_steps = 90


@pytest.mark.parametrize(
    ("made", "given", "steps", "validate_every"),
    [
        (Plain, {}, 5 * 6, 6),
        (Plain, {"epochs": 2}, 2 * 6, 6),
        (Plain, {"steps": 41}, 41, 3),
        (Counted, {}, 90, 5),
        (Counted, {"epochs": 2}, 2 * 6, 6),
        (Counted, {"steps": 41}, 41, 3),
    ],
)
def test_how_long_to_train(made, given, steps, validate_every):
    detector = made(TinyOptions(), InputSpec(size=(16, 16)))
    found = plan(TrainConfig(batch_size=8, **given), detector, learnt=50)
    assert (found.steps, found.validate_every, found.steps_per_epoch) == (steps, validate_every, 6)
