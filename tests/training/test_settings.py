import math
from dataclasses import replace

import pytest

from offnormal.config.fit import TrainConfig
from offnormal.errors import ConfigError
from offnormal.training.settings import FineTuning, plan
from offnormal.types import InputSpec
from tests.training.glance import Glance
from tests.training.tiny import Plain, TinyOptions


class Counted(Plain):
    """A method with a fixed number of steps, whatever the number of samples."""

    default_steps = 90


def plan_settings(samples, kind=Plain, **options):
    detector = kind(TinyOptions(seed=-3), InputSpec(size=(16, 16)))
    return plan(TrainConfig(**{"batch_size": 10, **options}), detector, samples)


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        (35, {}, (15, 3, 3)),  # the detector's five epochs, with a validation after each
        (35, {"epochs": 2}, (6, 3, 3)),
        (35, {"steps": 1000}, (1000, 3, 50)),
        (35, {"steps": 7}, (7, 3, 1)),
        (4, {"epochs": 2}, (2, 1, 1)),  # a set smaller than a batch
        (10, {"epochs": 2}, (2, 1, 1)),
    ],
)
def test_number_of_steps_and_validations(samples, options, expected):
    settings = plan_settings(samples, **options)
    assert (settings.steps, settings.steps_per_epoch, settings.validate_every) == expected
    assert settings.seed >= 0


@pytest.mark.parametrize(
    ("options", "steps", "validate_every"), [({}, 90, 5), ({"epochs": 2}, 6, 3), ({"steps": 41}, 41, 3)]
)
def test_a_method_may_set_its_number_of_steps(options, steps, validate_every):
    settings = plan_settings(35, Counted, **options)
    assert (settings.steps, settings.validate_every) == (steps, validate_every)


@pytest.mark.parametrize(
    ("options", "steps", "every", "fine_tuning"),
    [
        ({}, 33, 2, FineTuning(start=27, validate_every=3)),  # twenty validations, then one per epoch
        ({"epochs": 12}, 36, 3, FineTuning(start=27, validate_every=3)),
        ({"steps": 32}, 32, 2, FineTuning(start=27, validate_every=3)),
        ({"steps": 500}, 500, 2, FineTuning(start=27, validate_every=24)),
    ],
)
def test_the_fine_tuning_stage_has_its_own_validations(monkeypatch, options, steps, every, fine_tuning):
    monkeypatch.setattr(Glance, "default_steps", 90)
    detector = Glance(TinyOptions(), InputSpec(size=(16, 16)), stages=(9, 2))
    settings = plan(TrainConfig(**{"batch_size": 10, **options}), detector, 35)
    assert (settings.steps, settings.validate_every, settings.fine_tuning) == (steps, every, fine_tuning)


def test_both_stages_use_the_validation_samples_of_the_longer_interval():
    detector = Glance(TinyOptions(), InputSpec(size=(16, 16)), stages=(9, 2))
    settings = plan(TrainConfig(batch_size=10, steps=20000), detector, 35)
    assert (settings.validate_every, settings.fine_tuning.validate_every) == (2, 999)
    assert settings.validate_on == math.ceil(999 * 10 / 4)


def test_a_stage_ends_with_a_validation():
    fine_tuning = FineTuning(start=27, validate_every=4)
    settings = replace(plan_settings(35, epochs=12), validate_every=5, fine_tuning=fine_tuning)
    assert [step for step in range(1, 37) if settings.validates(step)] == [5, 10, 15, 20, 25, 27, 31, 35, 36]
    assert [settings.is_fine_tuning(step) for step in (27, 28)] == [False, True]
    assert not plan_settings(35).is_fine_tuning(15)


def test_a_validation_uses_a_quarter_of_the_samples_since_the_last_one():
    assert plan_settings(35, steps=1000).validate_on == 128  # the minimum, if there are so many
    assert plan_settings(35, steps=4000).validate_on == 200 * 10 / 4
    assert plan_settings(4000, epochs=2).validate_on == 1000


def test_more_devices_than_samples_are_refused():
    with pytest.raises(ConfigError, match="--devices 4: a step has only 3"):
        plan_settings(3, devices=4)


def test_only_settings_that_change_the_result_are_fixed():
    free = plan_settings(35, patience=3, keep="last", max_time="1h", threads=2)
    assert free.max_time_s == 3600
    assert free.fixed() == plan_settings(35).fixed()
    assert plan_settings(35, clip_grad_norm=1.0).fixed() != free.fixed()
    staged = replace(free, fine_tuning=FineTuning(start=3, validate_every=1))
    assert replace(staged, keep="best").fixed() != staged.fixed(), "fine-tuning starts from the kept weights"
