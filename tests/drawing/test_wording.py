from __future__ import annotations

import doctest

import pytest

from offnormal.drawing import wording
from offnormal.drawing.wording import clock_tenths, clock_text


def test_doctests():
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (9.96, "10 s"), (89.9, "90 s"), (90, "1.5 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_durations_change_their_unit_smoothly(seconds, text):
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3600, "1:00:00"), (-0.2, "0:00"), (-75, "-1:15")],
)
def test_whole_seconds_are_rounded(seconds, text):
    assert clock_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.99, "0:00.9"), (0.3, "0:00.3"), (59.99, "0:59.9"), (3601.25, "1:00:01.2")]
)
def test_tenths_are_truncated(seconds, text):
    assert clock_tenths(seconds) == text
