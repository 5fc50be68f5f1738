import math

import pytest
import torch

from offnormal.training.schedule import Schedule
from offnormal.training.settings import FineTuning, TrainSettings


def make_schedule(kind, steps=100, floor=0.01, fine_tuning=None):
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
        fine_tuning=fine_tuning,
    )
    if fine_tuning is not None:
        optimizers["b"].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5, "late": "c"})
    return Schedule(settings, optimizers), optimizers


def rates(schedule, optimizers, step):
    schedule.set(step)
    return [optimizer.param_groups[0]["lr"] for optimizer in optimizers.values()]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", {0: 1, 99: 1}),
        ("step", {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {0: 1, 50: 0.505, 100: 0.01, 25: 0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2}),
    ],
)
def test_each_optimizer_has_its_share_of_its_first_rate(kind, expected):
    schedule, optimizers = make_schedule(kind)
    for step, share in expected.items():
        assert rates(schedule, optimizers, step) == pytest.approx([share, 0.2 * share])


def test_no_schedule_goes_below_the_floor():
    assert rates(*make_schedule("step", floor=0.05), 99)[0] == 0.05
    assert rates(*make_schedule("cosine", floor=0.0), 100)[0] == pytest.approx(0)


def test_a_plateau_halves_the_rates():
    schedule, optimizers = make_schedule("plateau", floor=0.2)
    for loss in (3.0, 2.0, 2.0, 2.5, 2.0, 2.1):
        schedule.add_validation(loss, 5)
    assert rates(schedule, optimizers, 5)[0] == 1
    schedule.add_validation(2.0, 5)  # the fifth that is not lower than 2
    assert rates(schedule, optimizers, 5) == pytest.approx([0.5, 0.1])
    for _ in range(20):
        schedule.add_validation(2.0, 5)
    assert rates(schedule, optimizers, 5)[0] == 0.2


def test_a_plateau_is_resumed():
    schedule, _ = make_schedule("plateau")
    for loss in (1.0, 2.0, 2.0, 2.0, 2.0):
        schedule.add_validation(loss, 5)
    restored, optimizers = make_schedule("plateau")
    restored.load_state(schedule.state())
    restored.add_validation(2.0, 5)
    assert rates(restored, optimizers, 0)[0] == 0.5


FINE_TUNING = FineTuning(start=60, validate_every=10)


@pytest.mark.parametrize(
    ("kind", "fine_tuned", "frozen"),
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
def test_rates_fall_in_each_stage(kind, fine_tuned, frozen):
    schedule, optimizers = make_schedule(kind, fine_tuning=FINE_TUNING)
    for step, share in fine_tuned.items():
        assert schedule.set(step)["c"] == pytest.approx(0.5 * share)
        assert optimizers["b"].param_groups[1]["lr"] == pytest.approx(0.5 * share)
    for step, share in frozen.items():
        rates_by_name = schedule.set(step)
        assert [rates_by_name["a"], rates_by_name["b"]] == pytest.approx([share, 0.2 * share])


def test_a_training_that_fine_tunes_from_the_start_has_one_stage():
    schedule, _ = make_schedule("step", fine_tuning=FineTuning(start=0, validate_every=10))
    plain, _ = make_schedule("step")
    for step in (0, 50, 75):
        rates_by_name = schedule.set(step)
        assert {name: rates_by_name[name] for name in "ab"} == plain.set(step)
        assert rates_by_name["c"] == 0.5 * rates_by_name["a"]


def test_only_rates_of_learning_parameters_are_returned():
    schedule, _ = make_schedule("constant", fine_tuning=FINE_TUNING)
    assert schedule.set(59) == {"a": 1.0, "b": 0.2}
    assert schedule.set(60) == {"a": 1.0, "b": 0.2, "c": 0.5}


def test_plateaus_before_fine_tuning_do_not_lower_its_rate():
    schedule, _ = make_schedule("plateau", fine_tuning=FINE_TUNING)
    for _ in range(10):
        schedule.add_validation(1.0, 60)
    schedule.start_fine_tuning()
    restored, _ = make_schedule("plateau", fine_tuning=FINE_TUNING)
    restored.load_state(schedule.state())
    for tested in (schedule, restored):
        assert tested.set(60) == {"a": 0.5, "b": 0.1, "c": 0.5}
        for _ in range(5):
            tested.add_validation(1.0, 61)
        assert tested.set(61)["c"] == 0.5
        tested.add_validation(1.0, 61)
        assert tested.set(61) == {"a": 0.25, "b": 0.05, "c": 0.25}
