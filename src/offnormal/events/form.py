"""Events as JSON, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from offnormal.errors import DataError
from offnormal.types import Event

FORMAT_VERSION = 2  # 2: p_value
_TIMES = ("start", "end", "peak")


def event_to_json(event: Event) -> dict[str, Any]:
    """Plain values; times as ISO 8601 in UTC with milliseconds, and the duration for whoever reads it."""
    values = asdict(event)
    for name in _TIMES:
        values[name] = None if values[name] is None else iso(values[name])
    values["scores"] = [list(point) for point in event.scores]
    values["problems"] = list(event.problems)
    return {"format_version": FORMAT_VERSION, **values, "duration_s": round(event.duration_s, 3)}


def event_from_json(values: dict[str, Any]) -> Event:
    """The event of `event_to_json`; DataError for another format, and for keys missing or unknown."""
    stored = dict(values)
    found = stored.pop("format_version", None)
    if found != FORMAT_VERSION:
        raise DataError(f"event in format {found}, this version reads {FORMAT_VERSION}; update offnormal")
    stored.pop("duration_s", None)
    known = {field.name for field in fields(Event)}
    if set(stored) != known:
        raise DataError(f"event with keys {sorted(set(stored) ^ known)} missing or unknown")
    for name in _TIMES:
        stored[name] = None if stored[name] is None else datetime.fromisoformat(stored[name])
    stored["scores"] = tuple((float(time_s), float(score)) for time_s, score in stored["scores"])
    stored["problems"] = tuple(stored["problems"])
    return Event(**stored)


def iso(time: datetime) -> str:
    """A time in UTC as 2026-11-21T10:32:21.250Z.

    >>> iso(datetime(2026, 11, 21, 10, 32, 21, 250_000, UTC))
    '2026-11-21T10:32:21.250Z'
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
