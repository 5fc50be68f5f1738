import math

import pytest
import torch

from offnormal.training.schedule import Schedule
from offnormal.training.settings import Late, TrainSettings


def made(kind, steps=100, floor=0.01, late=None):
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
        late=late,
    )
    if late is not None:
        optimizers["b"].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5, "late": "c"})
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
def test_each_optimizer_has_its_share_of_its_own_rate(kind, expected):
    schedule, optimizers = made(kind)
    for step, share in expected.items():
        assert rates(schedule, optimizers, step) == pytest.approx([share, 0.2 * share])


def test_no_schedule_goes_below_the_floor():
    assert rates(*made("step", floor=0.05), 99)[0] == 0.05
    assert rates(*made("cosine", floor=0.0), 100)[0] == pytest.approx(0)


def test_a_plateau_halves_the_rates():
    schedule, optimizers = made("plateau", floor=0.2)
    for loss in (3.0, 2.0, 2.0, 2.5, 2.0, 2.1):
        schedule.validated(loss, 5)
    assert rates(schedule, optimizers, 5)[0] == 1
    schedule.validated(2.0, 5)  # the fifth that is no lower than 2
    assert rates(schedule, optimizers, 5) == pytest.approx([0.5, 0.1])
    for _ in range(20):
        schedule.validated(2.0, 5)
    assert rates(schedule, optimizers, 5)[0] == 0.2


def test_a_plateau_is_gone_on_with():
    schedule, _ = made("plateau")
    for loss in (1.0, 2.0, 2.0, 2.0, 2.0):
        schedule.validated(loss, 5)
    other, optimizers = made("plateau")
    other.load_state(schedule.state())
    other.validated(2.0, 5)
    assert rates(other, optimizers, 0)[0] == 0.5


LATE = Late(step=60, validate_every=10)


@pytest.mark.parametrize(
    ("kind", "late", "others"),
    [
        ("constant", {60: 1, 99: 1}, {0: 1, 59: 1, 60: 1, 99: 1}),
        (
            "step",
            {60: 1, 79: 1, 80: 0.1, 90: 0.01},
            {0: 1, 29: 1, 30: 0.1, 45: 0.01, 60: 0.1, 79: 0.1, 80: 0.01, 90: 0.01},
        ),
        ("cosine", {60: 1, 80: 0.505}, {0: 1, 30: 0.505, 60: 0.1, 80: 0.055}),
    ],
)
def test_rates_fall_in_each_stage(kind, late, others):
    schedule, optimizers = made(kind, late=LATE)
    for step, share in late.items():
        assert schedule.set(step)["c"] == pytest.approx(0.5 * share)
        assert optimizers["b"].param_groups[1]["lr"] == pytest.approx(0.5 * share)
    for step, share in others.items():
        told = schedule.set(step)
        assert [told["a"], told["b"]] == pytest.approx([share, 0.2 * share])


def test_a_training_that_is_late_from_the_start_has_one_stage():
    schedule, _ = made("step", late=Late(step=0, validate_every=10))
    plain, _ = made("step")
    for step in (0, 50, 75):
        told = schedule.set(step)
        assert {name: told[name] for name in "ab"} == plain.set(step)
        assert told["c"] == 0.5 * told["a"]


def test_rates_are_told_of_what_learns():
    schedule, _ = made("constant", late=LATE)
    assert schedule.set(59) == {"a": 1.0, "b": 0.2}
    assert schedule.set(60) == {"a": 1.0, "b": 0.2, "c": 0.5}


def test_plateaus_from_before_it_learned_do_not_lower_its_rate():
    schedule, _ = made("plateau", late=LATE)
    for _ in range(10):
        schedule.validated(1.0, 60)
    schedule.begin_late()
    other, _ = made("plateau", late=LATE)
    other.load_state(schedule.state())
    for one in (schedule, other):
        assert one.set(60) == {"a": 0.5, "b": 0.1, "c": 0.5}
        for _ in range(5):
            one.validated(1.0, 61)
        assert one.set(61)["c"] == 0.5
        one.validated(1.0, 61)
        assert one.set(61) == {"a": 0.25, "b": 0.05, "c": 0.25}
