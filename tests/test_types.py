import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal import errors, types
from offnormal.errors import ConfigError
from offnormal.types import InputSpec, Rate, Resize, Scores


def test_doctests():
    assert doctest.testmod(types).failed == doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(
    ("text", "value", "per"),
    [
        ("0.01", 0.01, "image"),
        ("1%", 0.01, "image"),
        (" 0.5 % ", 0.005, "image"),
        (0.02, 0.02, "image"),
        ("1e-3", 0.001, "image"),
        (".5", 0.5, "image"),
        ("2/hour", 2, "hour"),
        ("2 / h", 2, "hour"),
        ("1/\thour", 1, "hour"),
        ("0.5/Day", 0.5, "day"),
        ("3/d", 3, "day"),
        (Rate(0.25), 0.25, "image"),
    ],
)
def test_rates_are_parsed(text, value, per):
    rate = Rate.parse(text)
    assert (rate.value, rate.per) == (pytest.approx(value), per)


@pytest.mark.parametrize(
    "text", ["", "x", "1/week", "1 2", "-0.1", "0", "0%", "1", "100%", "1.2.3", ".", "nan", "inf", "0/hour", "1e", None]
)
def test_text_that_is_not_a_rate_is_rejected_with_an_example(text):
    with pytest.raises(ConfigError, match=r"^rate .*: expected a (share|number)"):
        Rate.parse(text)


@pytest.mark.parametrize("per", ["image", "hour", "day"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1])
def test_rates_are_finite_and_positive(per, value):
    with pytest.raises(ConfigError, match="expected"):
        Rate(value, per)


@given(st.floats(1e-6, 0.999))
def test_every_share_is_parsed_back_from_its_text(value):
    assert Rate.parse(str(value)) == Rate(value)


def test_rates_are_printed_in_words():
    assert str(Rate(0.005)) == "0.5 % of normal images"
    assert str(Rate(2, "day")) == "2 per day"


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 5)},
        {"size": (5, -1)},
        {"channels": 2},
        {"frames": 0},
        {"levels": (1, 1)},
        {"levels": (0, float("inf"))},
    ],
)
def test_an_input_specification_checks_itself(wrong):
    with pytest.raises(ConfigError, match=r"sides and frames above 0, and 1 or 3 channels|expected two numbers"):
        InputSpec(**{"size": (8, 8), **wrong})


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"fps": 0}, "above 0, or None"),
        ({"fps": float("nan")}, "above 0, or None"),
        ({"fps": float("inf")}, "above 0, or None"),
        ({"hop": 0}, "1 or more source frames"),
        ({"sampling": "random"}, "'window' or 'uniform'"),
        ({"sampling": "uniform", "fps": 5.0}, "omit fps and hop"),
        ({"sampling": "uniform", "hop": 2}, "omit fps and hop"),
        ({"targets": (4,)}, "distinct positions from -4 to 3"),
        ({"targets": (-5,)}, "distinct positions from -4 to 3"),
        ({"targets": (1, -3)}, "distinct positions from -4 to 3"),
    ],
)
def test_an_input_specification_of_clips_explains_its_errors(wrong, advice):
    with pytest.raises(ConfigError, match=advice):
        InputSpec(size=(8, 8), frames=4, **wrong)


@pytest.mark.parametrize("targets", [(), (0,), (-1,), (3, 0), (-4, 3), (0, 1, 2, 3)])
def test_targets_are_positions_in_the_clip_counted_from_either_end(targets):
    assert InputSpec(size=(8, 8), frames=4, targets=targets).targets == targets


@pytest.mark.parametrize(("policy", "short_side"), [("short_side", None), ("stretch", 64), ("letterbox", 64)])
def test_short_side_needs_its_policy(policy, short_side):
    with pytest.raises(ConfigError, match="expected short_side"):
        Resize(policy=policy, short_side=short_side)


def test_scores_count_their_rows():
    assert len(Scores(np.zeros(3, np.float32), None)) == 3
