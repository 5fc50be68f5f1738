"""Make events from the machine's occurrences and the camera's context; convert events to and from JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version

import numpy as np
from pydantic import TypeAdapter, ValidationError

from offnormal.calibration.calibration import Calibration
from offnormal.config.validation import format_validation_error
from offnormal.errors import DataError
from offnormal.events.machine import EventRules, Occurrence
from offnormal.types import Event, Severity

_MEDIUM, _HIGH = 0.1, 0.001  # of the threshold's p-value: the peak is ten times, a thousand times rarer
FORMAT_VERSION = 3  # 3: incident
_TIMES = ("start", "end", "peak")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """The facts that all events of a camera share."""

    camera: str
    source: str  # address, without credentials
    threshold: float
    low_threshold: float
    bundle: str | None = None  # hash
    calibration: str | None = None  # id
    setup_hash: str | None = None  # hash of masks and zones
    recording_s: float | None = None  # start of a recording, seconds since 1970; None: live
    recording: str = ""  # what tells a recording and its setup from others; "": live


def make_event(
    context: EventContext,
    rules: EventRules,
    calibration: Calibration | None,
    occurrence: Occurrence,
    *,
    incident: str = "",
    is_alerted: bool = True,
) -> Event:
    """The event of an occurrence with times in seconds since 1970 UTC; incident: "": its own."""
    identity = event_id(context.camera, "anomaly", occurrence.start_s, context.recording)
    p_value = None if calibration is None else calibration.p_value
    peak_p_value = None if p_value is None else float(p_value(np.array([occurrence.peak]))[0])
    return Event(
        id=identity,
        incident=incident or identity,
        is_alerted=is_alerted,
        camera=context.camera,
        state="closed" if occurrence.is_over else "open",
        start=_as_time(occurrence.start_s),
        end=_as_time(occurrence.end_s),
        source=context.source,
        position_s=None if context.recording_s is None else round(occurrence.start_s - context.recording_s, 3),
        continues=None
        if occurrence.continues_s is None
        else event_id(context.camera, "anomaly", occurrence.continues_s, context.recording),
        peak=_as_time(occurrence.peak_s),
        peak_score=occurrence.peak,
        p_value=peak_p_value,
        severity=_severity(peak_p_value, p_value, context.threshold),
        scores=occurrence.scores,
        threshold=context.threshold,
        low_threshold=context.low_threshold,
        rules=rules.model_dump(),
        bundle=context.bundle,
        calibration=context.calibration,
        setup_hash=context.setup_hash,
        software=software(),
    )


def camera_event(
    camera: str,
    kind: str,
    start_s: float,
    end_s: float,
    *,
    is_over: bool,
    source: str = "",
    detail: str = "",
    recording_s: float | None = None,
    recording: str = "",
) -> Event:
    """An event of the camera itself, without scores, such as no frames or a covered lens.

    recording_s: start of a recording, seconds since 1970; None: live. recording: as in EventContext.
    """
    return Event(
        id=event_id(camera, kind, start_s, recording),
        camera=camera,
        kind=kind,
        state="closed" if is_over else "open",
        start=_as_time(start_s),
        end=_as_time(end_s),
        source=source,
        position_s=None if recording_s is None else round(start_s - recording_s, 3),
        detail=detail,
        software=software(),
    )


def event_id(camera: str, kind: str, start_s: float, recording: str = "") -> str:
    """A name that starts with the time; the same event always has the same id.

    recording: what tells a recording from others; their times may be the same, so that their ids are longer.

    >>> event_id("porch", "anomaly", 0.25)
    '19700101T000000.250Z-700f8dd2'
    """
    time = _as_time(start_s)
    text = f"{camera}\n{kind}\n{start_s:.3f}" + (f"\n{recording}" if recording else "")
    digest = hashlib.sha256(text.encode()).hexdigest()[: 16 if recording else 8]
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03}Z-{digest}"


def _as_time(time_s: float) -> datetime:
    """Seconds since 1970 UTC as a time, to the millisecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(time_s * 1000))


@cache
def software() -> str:
    """Name and version of this program."""
    return f"offnormal {version('offnormal')}"


def _severity(
    peak_p_value: float | None, p_value: Callable[[np.ndarray], np.ndarray] | None, threshold: float
) -> Severity | None:
    """The severity by how much rarer the peak is among normals than the threshold; None: not calibrated."""
    if peak_p_value is None or p_value is None:
        return None
    ratio = peak_p_value / float(p_value(np.array([threshold]))[0])
    return "high" if ratio <= _HIGH else "medium" if ratio <= _MEDIUM else "low"


def event_to_json(event: Event) -> dict[str, object]:
    """Plain values; times as ISO 8601 in UTC with milliseconds, plus the duration."""
    values = asdict(event)
    for name in _TIMES:
        values[name] = None if values[name] is None else iso(values[name])
    values["scores"] = [list(point) for point in event.scores]
    values["problems"] = list(event.problems)
    return {"format_version": FORMAT_VERSION, **values, "duration_s": round(event.duration_s, 3)}


def event_from_json(values: Mapping[str, object]) -> Event:
    """The event that `event_to_json` wrote; DataError for another format, and for missing or unknown keys."""
    stored = dict(values)
    stored_version = stored.pop("format_version", None)
    if stored_version != FORMAT_VERSION:
        raise DataError(f"event in format {stored_version}, this version reads {FORMAT_VERSION}; update offnormal")
    stored.pop("duration_s", None)
    names = {field.name for field in fields(Event)}
    if set(stored) != names:
        raise DataError(f"event with missing or unknown keys {sorted(map(str, set(stored) ^ names))}")
    try:
        return _event_adapter().validate_python(stored)
    except ValidationError as error:
        raise DataError(f"damaged event: {format_validation_error(error)}") from None


@cache
def _event_adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def iso(time: datetime) -> str:
    """A time in UTC as 2026-11-21T10:32:21.250Z.

    >>> iso(datetime(2026, 11, 21, 10, 32, 21, 250_000, UTC))
    '2026-11-21T10:32:21.250Z'
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
