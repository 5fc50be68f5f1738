import time
from itertools import pairwise

import pytest

from offnormal.watching.clock import WallClock


class Clocks:
    """The system's clocks, set by hand."""

    def __init__(self, monkeypatch):
        self.monotonic_s, self.wall_s = 100.0, 5000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic_s)
        monkeypatch.setattr(time, "time", lambda: self.wall_s)

    def pass_by(self, seconds, *, set_by=0.0):
        self.monotonic_s += seconds
        self.wall_s += seconds + set_by


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


def test_it_is_the_time_of_day_also_for_moments_that_have_passed(clocks):
    clock = WallClock()
    clocks.pass_by(60)
    assert clock.now() == 5060
    assert clock.of(100) == 5000


def test_set_forward_it_is_followed_at_once(clocks):
    clock = WallClock()
    clocks.pass_by(1, set_by=3600)
    assert clock.now() == clocks.wall_s


def test_set_back_it_still_rises_until_the_time_of_day_is_reached(clocks):
    clock, told = WallClock(), []
    clocks.pass_by(0, set_by=-10)
    for _ in range(300):
        clocks.pass_by(1)
        told.append(clock.now())
    steps = [later - earlier for earlier, later in pairwise(told)]
    assert min(steps) == pytest.approx(0.95)
    assert told[-1] == pytest.approx(clocks.wall_s)
