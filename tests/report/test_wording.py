from __future__ import annotations

import doctest

import pytest

from offnormal.report import wording


def test_doctests():
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (9.96, "10 s"), (89.9, "90 s"), (90, "1.5 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_durations_change_their_unit_without_a_jump(seconds, text):
    assert wording.duration(seconds) == text
