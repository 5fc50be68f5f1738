"""When a camera is watched: windows of the week in the local time of a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from offnormal.config.fields import AS_LIST
from offnormal.config.model import FlagName, VerbConfig

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EXPECTED = "expected days, times or both, such as 'mon-fri 18:00-06:00', 'sat,sun' or '08:00-16:30'"


@dataclass(frozen=True, slots=True)
class Window:
    """Days of the week with a start and an end time; an end before the start is on the next day."""

    days: frozenset[int]  # on which it starts; 0: Monday
    start: time
    end: time | None  # exclusive; None: midnight

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read `mon-fri 18:00-06:00`, `sat,sun` or `08:00-16:30`; ValueError for anything else."""
        words = text.lower().split()
        times = [word for word in words if ":" in word]
        days = [word for word in words if ":" not in word]
        if not words or len(times) > 1 or len(days) > 1:
            raise ValueError(f"window {text!r}: {_EXPECTED}")
        start, end = _times(times[0], text) if times else (time(0), None)
        if start == end:
            raise ValueError(f"window {text!r} starts and ends at the same time; omit the times for whole days")
        return cls(_days(days[0], text) if days else frozenset(range(7)), start, end)

    def contains(self, local: datetime) -> bool:
        """Whether a local time is inside the window."""
        today, local_time = local.weekday(), local.time()
        if self.end is None or self.start < self.end:
            return today in self.days and self.start <= local_time and (self.end is None or local_time < self.end)
        return (today in self.days and local_time >= self.start) or (
            (today - 1) % 7 in self.days and local_time < self.end
        )


class Schedule(VerbConfig):
    """Windows of the week in which events are raised, in the local time of a time zone.

    When clocks are set back, the repeated hour is watched twice; when they are set forward, the skipped hour is not
    watched.
    """

    windows: Annotated[list[str], AS_LIST, FlagName("--schedule")] = Field(default=[])
    """When events are raised: 'mon-fri 18:00-06:00', 'sat,sun', or '08:00-16:30'; repeatable."""
    timezone: str = "UTC"
    """Time zone of the windows, an IANA name such as Europe/Berlin."""

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("expected an IANA time zone such as Europe/Berlin") from None
        return value

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, value: list[str]) -> list[str]:
        for text in value:
            Window.parse(text)
        return value

    @model_validator(mode="after")
    def _has_windows(self) -> Schedule:
        if not self.windows:
            raise ValueError(f"timezone {self.timezone} without windows: add windows of the week (--schedule)")
        return self

    @cached_property
    def _parsed(self) -> tuple[ZoneInfo, list[Window]]:
        return ZoneInfo(self.timezone), [Window.parse(text) for text in self.windows]

    def is_on(self, time_s: float) -> bool:
        """Whether a time, in seconds since 1970 UTC, is inside one of the windows."""
        zone, windows = self._parsed
        local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time_s)).astimezone(zone)
        return any(window.contains(local) for window in windows)


def _days(text: str, whole: str) -> frozenset[int]:
    numbers: set[int] = set()
    for days in text.split(","):
        first, dash, last = days.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"window {whole!r}: days are {', '.join(DAYS)}; {_EXPECTED}")
        start = DAYS.index(first)
        count = (DAYS.index(last) - start) % 7 if dash else 0
        numbers |= {(start + i) % 7 for i in range(count + 1)}
    return frozenset(numbers)


def _times(text: str, whole: str) -> tuple[time, time | None]:
    match = re.fullmatch(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)", text)
    try:
        if match is None:
            raise ValueError
        from_h, from_m, to_h, to_m = (int(number) for number in match.groups())
        return time(from_h, from_m), None if (to_h, to_m) in ((24, 0), (0, 0)) else time(to_h, to_m)
    except ValueError:
        raise ValueError(f"window {whole!r}: {_EXPECTED}") from None
