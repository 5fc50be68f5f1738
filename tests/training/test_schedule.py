import math

import pytest
import torch

from offnormal.training.schedule import Schedule
from offnormal.training.settings import TrainSettings


def made(kind, steps=100, floor=0.01):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizers = {"a": torch.optim.SGD([weight], lr=1.0), "b": torch.optim.SGD([weight], lr=0.2)}
    settings = TrainSettings(
        seed=0,
        batch_size=1,
        steps=steps,
        steps_per_epoch=10,
        validate_every=10,
        validate_on=9,
        schedule=kind,
        floor=floor,
    )
    return Schedule(settings, optimizers), optimizers


def rates(schedule, optimizers, step):
    schedule.set(step)
    return [found.param_groups[0]["lr"] for found in optimizers.values()]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", {0: 1, 99: 1}),
        ("step", {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {0: 1, 50: 0.505, 100: 0.01, 25: 0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2}),
    ],
)
def test_each_optimiser_has_its_share_of_its_own_rate(kind, expected):
    schedule, optimizers = made(kind)
    for step, share in expected.items():
        assert rates(schedule, optimizers, step) == pytest.approx([share, 0.2 * share])


def test_no_schedule_goes_below_the_floor():
    assert rates(*made("step", floor=0.05), 99)[0] == 0.05
    assert rates(*made("cosine", floor=0.0), 100)[0] == pytest.approx(0)


def test_a_plateau_halves_the_rates():
    schedule, optimizers = made("plateau", floor=0.2)
    for loss in (3.0, 2.0, 2.0, 2.5, 2.0, 2.1):
        schedule.validated(loss)
    assert rates(schedule, optimizers, 5)[0] == 1
    schedule.validated(2.0)  # the fifth that is no lower than 2
    assert rates(schedule, optimizers, 5) == pytest.approx([0.5, 0.1])
    for _ in range(20):
        schedule.validated(2.0)
    assert rates(schedule, optimizers, 5)[0] == 0.2


def test_a_plateau_is_gone_on_with():
    schedule, _ = made("plateau")
    for loss in (1.0, 2.0, 2.0, 2.0, 2.0):
        schedule.validated(loss)
    other, optimizers = made("plateau")
    other.load_state(schedule.state())
    other.validated(2.0)
    assert rates(other, optimizers, 0)[0] == 0.5
