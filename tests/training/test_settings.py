import math
from dataclasses import replace

import pytest

from offnormal.config.fit import TrainConfig
from offnormal.errors import ConfigError
from offnormal.training.settings import Late, plan
from offnormal.types import InputSpec
from tests.training.glance import Glance
from tests.training.tiny import Plain, TinyOptions


class Counted(Plain):
    """Of a method that says how many steps it needs, however many samples there are."""

    default_steps = 90


def planned(learned, made=Plain, **given):
    detector = made(TinyOptions(seed=-3), InputSpec(size=(16, 16)))
    return plan(TrainConfig(**{"batch_size": 10, **given}), detector, learned)


@pytest.mark.parametrize(
    ("learned", "given", "expected"),
    [
        (35, {}, (15, 3, 3)),  # the detector's five epochs, validated after each
        (35, {"epochs": 2}, (6, 3, 3)),
        (35, {"steps": 1000}, (1000, 3, 50)),
        (35, {"steps": 7}, (7, 3, 1)),
        (4, {"epochs": 2}, (2, 1, 1)),  # a set smaller than a batch
        (10, {"epochs": 2}, (2, 1, 1)),
    ],
)
def test_how_long_and_how_often_validated(learned, given, expected):
    found = planned(learned, **given)
    assert (found.steps, found.steps_per_epoch, found.validate_every) == expected
    assert found.seed >= 0


@pytest.mark.parametrize(
    ("given", "steps", "validate_every"), [({}, 90, 5), ({"epochs": 2}, 6, 3), ({"steps": 41}, 41, 3)]
)
def test_a_method_may_count_in_steps(given, steps, validate_every):
    found = planned(35, Counted, **given)
    assert (found.steps, found.validate_every) == (steps, validate_every)


@pytest.mark.parametrize(
    ("given", "steps", "every", "late"),
    [
        ({}, 33, 2, Late(step=27, validate_every=3)),  # twenty validations, then one an epoch
        ({"epochs": 12}, 36, 3, Late(step=27, validate_every=3)),
        ({"steps": 32}, 32, 2, Late(step=27, validate_every=3)),
        ({"steps": 500}, 500, 2, Late(step=27, validate_every=24)),
    ],
)
def test_what_learns_late_has_a_stage_with_validations_of_its_own(monkeypatch, given, steps, every, late):
    monkeypatch.setattr(Glance, "default_steps", 90)
    made = Glance(TinyOptions(), InputSpec(size=(16, 16)), stages=(9, 2))
    found = plan(TrainConfig(**{"batch_size": 10, **given}), made, 35)
    assert (found.steps, found.validate_every, found.late) == (steps, every, late)


def test_both_stages_are_validated_on_as_many_as_the_dearer_one_can_afford():
    made = Glance(TinyOptions(), InputSpec(size=(16, 16)), stages=(9, 2))
    found = plan(TrainConfig(batch_size=10, steps=20000), made, 35)
    assert (found.validate_every, found.late.validate_every) == (2, 999)
    assert found.validate_on == math.ceil(999 * 10 / 4)


def test_a_stage_ends_with_a_validation():
    late = Late(step=27, validate_every=4)
    found = replace(planned(35, epochs=12), validate_every=5, late=late)
    assert [step for step in range(1, 37) if found.validates(step)] == [5, 10, 15, 20, 25, 27, 31, 35, 36]
    assert [found.is_late(step) for step in (27, 28)] == [False, True]
    assert not planned(35).is_late(15)


def test_a_validation_takes_a_quarter_of_what_was_learned_since_the_one_before():
    assert planned(35, steps=1000).validate_on == 128  # at least, where there are so many
    assert planned(35, steps=4000).validate_on == 200 * 10 / 4
    assert planned(4000, epochs=2).validate_on == 1000


def test_more_devices_than_samples_are_refused():
    with pytest.raises(ConfigError, match="--devices 4 for 3"):
        planned(3, devices=4)


def test_only_what_decides_on_what_is_learned_is_fixed():
    one = planned(35, patience=3, keep="last", max_time="1h", threads=2)
    assert one.max_time_s == 3600
    assert one.fixed() == planned(35).fixed()
    assert planned(35, clip_grad_norm=1.0).fixed() != one.fixed()
    staged = replace(one, late=Late(step=3, validate_every=1))
    assert replace(staged, keep="best").fixed() != staged.fixed(), "it decides where the last stage begins"
