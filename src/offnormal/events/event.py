"""An Event: made of what a machine says and all that is known of its camera; as JSON, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version

import numpy as np
from pydantic import TypeAdapter

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError
from offnormal.events.machine import EventRules, Occurrence
from offnormal.types import Event, Severity

_MEDIUM, _HIGH = 0.1, 0.001  # of the threshold's p-value: a peak ten times, a thousand times rarer than that
FORMAT_VERSION = 2  # 2: p_value
_TIMES = ("start", "end", "peak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What stays the same from one event of a camera to the next."""

    camera: str
    source: str  # what is watched, without credentials
    threshold: float
    low_threshold: float
    bundle: str | None = None  # hash
    calibration: str | None = None  # id
    conditions: str | None = None  # hash of masks and zones
    recording_s: float | None = None  # when a recording begins, seconds since 1970; None: live


def make_event(watched: Watched, rules: EventRules, calibration: Calibration | None, found: Occurrence) -> Event:
    """The event of an occurrence whose times are seconds since 1970 UTC."""
    p_value = None if calibration is None else calibration.p_value
    probability = None if p_value is None else float(p_value(np.array([found.peak]))[0])
    return Event(
        id=event_id(watched.camera, "anomaly", found.start_s),
        camera=watched.camera,
        state="closed" if found.is_over else "open",
        start=_as_time(found.start_s),
        end=_as_time(found.end_s),
        source=watched.source,
        position_s=None if watched.recording_s is None else round(found.start_s - watched.recording_s, 3),
        continues=None if found.continues_s is None else event_id(watched.camera, "anomaly", found.continues_s),
        peak=_as_time(found.peak_s),
        peak_score=found.peak,
        p_value=probability,
        severity=_severity(probability, p_value, watched.threshold),
        scores=found.scores,
        threshold=watched.threshold,
        low_threshold=watched.low_threshold,
        rules=rules.model_dump(),
        bundle=watched.bundle,
        calibration=watched.calibration,
        conditions=watched.conditions,
        software=software(),
    )


def camera_event(
    camera: str, kind: str, start_s: float, end_s: float, *, is_over: bool, source: str = "", detail: str = ""
) -> Event:
    """An event of the camera itself, such as no frames or a covered lens, which has no scores."""
    return Event(
        id=event_id(camera, kind, start_s),
        camera=camera,
        kind=kind,
        state="closed" if is_over else "open",
        start=_as_time(start_s),
        end=_as_time(end_s),
        source=source,
        detail=detail,
        software=software(),
    )


def event_id(camera: str, kind: str, start_s: float) -> str:
    """A name that says when, and is the same whenever the same event is told.

    >>> event_id("porch", "anomaly", 0.25)
    '19700101T000000.250Z-700f8dd2'
    """
    time = _as_time(start_s)
    digest = hashlib.sha256(f"{camera}\n{kind}\n{start_s:.3f}".encode()).hexdigest()[:8]
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03}Z-{digest}"


def _as_time(time_s: float) -> datetime:
    """Seconds since 1970 UTC as a time, to the millisecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(time_s * 1000))


@cache
def software() -> str:
    """Name and version of this program."""
    return f"offnormal {version('offnormal')}"


def _severity(
    probability: float | None, p_value: Callable[[np.ndarray], np.ndarray] | None, threshold: float
) -> Severity | None:
    """How much rarer than the threshold itself the peak is among normals; None: not calibrated."""
    if probability is None or p_value is None:
        return None
    rarer = probability / float(p_value(np.array([threshold]))[0])
    return "high" if rarer <= _HIGH else "medium" if rarer <= _MEDIUM else "low"


def event_to_json(event: Event) -> dict[str, object]:
    """Plain values; times as ISO 8601 in UTC with milliseconds, and the duration for whoever reads it."""
    values = asdict(event)
    for name in _TIMES:
        values[name] = None if values[name] is None else iso(values[name])
    values["scores"] = [list(point) for point in event.scores]
    values["problems"] = list(event.problems)
    return {"format_version": FORMAT_VERSION, **values, "duration_s": round(event.duration_s, 3)}


def event_from_json(values: Mapping[str, object]) -> Event:
    """The event of `event_to_json`; DataError for another format, and for keys missing or unknown."""
    stored = dict(values)
    found = stored.pop("format_version", None)
    if found != FORMAT_VERSION:
        raise DataError(f"event in format {found}, this version reads {FORMAT_VERSION}; update offnormal")
    stored.pop("duration_s", None)
    known = {field.name for field in fields(Event)}
    if set(stored) != known:
        raise DataError(f"event with keys {sorted(set(stored) ^ known)} missing or unknown")
    return _event_adapter().validate_python(stored)


@cache
def _event_adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def iso(time: datetime) -> str:
    """A time in UTC as 2026-11-21T10:32:21.250Z.

    >>> iso(datetime(2026, 11, 21, 10, 32, 21, 250_000, UTC))
    '2026-11-21T10:32:21.250Z'
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
