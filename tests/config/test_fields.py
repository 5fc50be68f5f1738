import doctest
import json
from typing import Annotated

import pytest
from hypothesis import given, strategies
from pydantic import TypeAdapter, ValidationError

from offnormal.config import fields, model
from offnormal.config.fit import FitConfig
from offnormal.types import Rate


def read(kind, value):
    return TypeAdapter(kind).validate_python(value)


def refusal(kind, value):
    with pytest.raises(ValidationError) as error:
        read(kind, value)
    return error.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("5 S", 5),
        ("10m", 600),
        ("2min", 120),
        ("2h", 7200),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("1.5h", 5400),
        ("7", 7),
        (7, 7),
        (0.2, 0.2),
        (1e-7, 1e-7),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_durations_are_seconds(text, seconds):
    result = read(fields.Duration, text)
    assert isinstance(result, float) and result == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["fast", "-1s", "5 d", "", "s", "1h30m", True, None, "nan", "inf", [5]])
def test_invalid_durations_are_refused(text):
    assert refusal(fields.Duration, text) == "Value error, expected a duration such as 5s, 500ms, 10m, or 2h"


def test_a_positive_duration_is_not_zero():
    assert read(fields.PositiveDuration, "1ms") == 0.001
    assert "expected a duration above 0, such as 5s" in refusal(fields.PositiveDuration, "0s")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (256, 256),
        ("256", 256),
        ("256x320", (256, 320)),
        ("256X320", (256, 320)),
        (" 256 x 320 ", (256, 320)),
        ([256, 320], (256, 320)),
        ((256, 320), (256, 320)),
        ([256], 256),
        (16, 16),
    ],
)
def test_forms_of_a_size(size, expected):
    result = read(fields.Size, size)
    assert (type(result), result) == (type(expected), expected)


@pytest.mark.parametrize("size", [15, "8x256", "256x", "x256", "1x2x3", [1, 2, 3], [], "2.5", -256, True, "256px"])
def test_invalid_sizes_are_refused(size):
    assert "expected N or HxW in pixels, at least 16, such as 256 or 256x320" in refusal(fields.Size, size)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("50/40/10", (50, 40, 10)),
        ("60 / 30 / 10", (60, 30, 10)),
        ([34, 33, 33], (34, 33, 33)),
        ((50.0, 40.0, 10.0), (50, 40, 10)),
        ("33.3/33.3/33.4", (33.3, 33.3, 33.4)),
    ],
)
def test_a_split_is_three_shares_of_a_hundred(split, expected):
    assert read(fields.Split, split) == expected


@pytest.mark.parametrize("split", ["50/40", "50/50/0", "50/40/20", "a/b/c", "50", 50, [100], ""])
def test_invalid_splits_are_refused(split):
    assert "expected three shares above 0 with the sum 100, such as 50/40/10" in refusal(fields.Split, split)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.01, Rate(0.01)),
        ("0.01", Rate(0.01)),
        ("1%", Rate(0.01)),
        ("2/hour", Rate(2, "hour")),
        ("1 / d", Rate(1, "day")),
        (Rate(0.02), Rate(0.02)),
    ],
)
def test_forms_of_a_rate(rate, expected):
    assert read(fields.FalseAlarmRate, rate) == expected


def test_invalid_rates_are_refused():
    assert refusal(fields.FalseAlarmRate, "often") == ("Value error, rate 'often': expected a share such as 0.01 or 1%")
    assert "above 0 and below 1" in refusal(fields.FalseAlarmRate, 2)
    assert read(fields.EventRate, "2/day") == Rate(2, "day")
    assert "expected a number of events per hour or day, such as 2/day or 1/hour" in refusal(fields.EventRate, "1%")


@pytest.mark.parametrize(
    ("text", "device"), [("auto", "auto"), (" CPU", "cpu"), ("cuda", "cuda"), ("cuda:3", "cuda:3")]
)
def test_devices(text, device):
    assert read(fields.Device, text) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:0", "", 0])
def test_invalid_devices_are_refused(text):
    assert "expected auto, cpu, cuda, or cuda:N" in refusal(fields.Device, text)


def test_names_have_commas_between_them_or_are_a_list():
    assert read(fields.Names, "Walk, Run-Side,") == ["Walk", "Run-Side"]
    assert read(fields.Names, ["a, b", "c"]) == ["a, b", "c"], "a name in a list is taken as it is"
    assert read(Annotated[list[str], fields.AS_LIST], "a, b") == ["a, b"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (fields.Duration, strategies.floats(0, 1e6).map(lambda seconds: round(seconds, 3))),
        (fields.Size, strategies.integers(16, 9999) | strategies.tuples(*[strategies.integers(16, 9999)] * 2)),
        (fields.Split, strategies.tuples(*[strategies.integers(1, 49)] * 2).map(lambda two: (*two, 100 - sum(two)))),
        (
            fields.FalseAlarmRate,
            strategies.floats(1e-6, 0.999).map(Rate) | strategies.integers(1, 99).map(lambda n: Rate(n, "day")),
        ),
    ],
)
def test_values_survive_a_round_trip_through_text(kind, values):
    adapter = TypeAdapter(kind)

    @given(values)
    def check(value):
        text = json.loads(adapter.dump_json(value))
        assert isinstance(text, str)
        assert adapter.validate_python(text) == value
        assert adapter.validate_python(value) == value, "a typed value stays as it is"

    check()


def test_a_configuration_is_written_as_people_write_it():
    config = FitConfig(every=5, size=[256, 320], rate="1%", split=[60, 30, 10])
    result = config.model_dump(mode="json")
    assert [result[name] for name in ("every", "size", "rate", "split")] == ["5s", "256x320", "0.01", "60/30/10"]
    assert (config.every, config.size, config.rate, config.split) == (5.0, (256, 320), Rate(0.01), (60.0, 30.0, 10.0))


def test_doctests():
    assert doctest.testmod(fields).failed == doctest.testmod(model).failed == 0
    assert doctest.testmod(fields).attempted > 5
