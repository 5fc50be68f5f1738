from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from offnormal.config.layers import build
from offnormal.errors import ConfigError
from offnormal.events.schedule import Schedule, Window


def is_on(schedule, text, fold=0):
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(schedule.timezone), fold=fold)
    return schedule.is_on(local.timestamp())


def berlin(*windows):
    return Schedule(timezone="Europe/Berlin", windows=list(windows))


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("mon-fri 08:00-16:30", "2026-11-20T08:00 2026-11-20T16:29", "2026-11-20T16:30 2026-11-20T07:59"),
        ("fri 18:00-06:00", "2026-11-20T18:00 2026-11-21T05:59", "2026-11-21T06:00 2026-11-20T05:00"),
        ("sun 22:00-02:00", "2026-11-22T23:00 2026-11-23T01:00", "2026-11-22T01:00"),
        ("sat,sun", "2026-11-21T00:00 2026-11-22T23:59:59", "2026-11-20T23:59 2026-11-23T00:00"),
        ("fri-mon 12:00-24:00", "2026-11-23T23:59 2026-11-20T12:00", "2026-11-24T13:00 2026-11-20T11:59"),
        ("20:00-00:00", "2026-11-20T23:59", "2026-11-20T00:00 2026-11-20T19:00"),
    ],
)
def test_windows_contain_their_times(window, inside, outside):
    schedule = berlin(window)
    assert all(is_on(schedule, text) for text in inside.split())
    assert not any(is_on(schedule, text) for text in outside.split())


def test_several_windows_in_a_time_zone():
    schedule = berlin("mon 09:00-10:00", "mon 12:00-13:00")
    assert schedule.is_on(datetime(2026, 11, 23, 8, 30, tzinfo=UTC).timestamp()), "09:30 in Berlin"
    assert not schedule.is_on(datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp())
    assert schedule.is_on(datetime(2026, 7, 20, 7, 30, tzinfo=UTC).timestamp()), "09:30 in summer"


def test_repeated_and_skipped_hours_of_clock_changes():
    schedule = berlin("02:15-02:45")
    assert is_on(schedule, "2026-10-25T02:30", fold=0) and is_on(schedule, "2026-10-25T02:30", fold=1)
    start = datetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    assert not any(schedule.is_on((start + timedelta(minutes=m)).timestamp()) for m in range(0, 23 * 60, 5))
    night = berlin("sat 23:00-04:00")
    minutes = [(start - timedelta(hours=2) + timedelta(minutes=m)).timestamp() for m in range(10 * 60)]
    assert sum(night.is_on(minute) for minute in minutes) == 4 * 60, "the night that clocks are set forward"


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("", "expected days, times or both"),
        ("monday", "days are mon, tue"),
        ("mon 8-16", "expected days"),
        ("mon 25:00-26:00", "expected days"),
        ("mon tue", "expected days"),
        ("08:00-08:00", "starts and ends at the same time"),
    ],
)
def test_invalid_windows_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        Window.parse(window)
    with pytest.raises(ConfigError, match=message):
        build(Schedule, {"windows": [window]}, environment={})


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../etc/passwd", "", "Berlin time"])
def test_unknown_time_zones_are_refused(zone):
    with pytest.raises(ConfigError, match="timezone: expected an IANA time zone such as Europe/Berlin"):
        build(Schedule, {"windows": ["mon"], "timezone": zone}, environment={})
