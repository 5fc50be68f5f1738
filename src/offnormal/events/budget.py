"""An alarm budget: the threshold for a number of incidents per hour or day, from a camera's normal footage.

The incidents of the footage are counted at each threshold where the count changes, highest first. The threshold is the
lowest whose rate of incidents is at most the one asked for: on this footage, or with a confidence for the mean of such
footage (`calibration.incident_rate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.incident_rate import MIN_DISPERSION, later_interval, mean_bound
from offnormal.config.rules import RulesConfig
from offnormal.errors import CalibrationError, counted, duration_text
from offnormal.events.footage import Footage, Rung
from offnormal.events.machine import EventRules, low_threshold
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

FORMAT_VERSION = 3  # 3: incidents
_HOUR_S = 3600.0
_MOST = 0.25  # of the footage in alarm, or of its minutes with an event: beyond it, scores above are usual
_ROUNDING = 1e-9


class _Stored(BaseModel):
    """What is stored of a budget."""

    model_config = ConfigDict(allow_inf_nan=False)

    calibration: dict[str, Any]
    low_threshold: float
    hysteresis: float
    rules: EventRules
    camera: str
    setup_hash: str | None
    events: int
    incidents: int
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmBudget:
    """The thresholds of one camera for a number of incidents per hour or day; stored in one file per camera."""

    calibration: Calibration
    low_threshold: float  # an event ends at or below it
    hysteresis: float
    rules: EventRules
    camera: str
    setup_hash: str | None  # hash of the masks and zones of the footage's scores
    events: int  # that the calibration footage itself raises
    incidents: int  # of these events
    hours: float  # of scored footage

    @property
    def explanation(self) -> str:
        """The rate, its footage, and the number of incidents that the footage itself raises."""
        return (
            f"{self.calibration.explanation}; {duration_text(3600 * self.hours)} of footage, with "
            f"{counted(self.incidents, 'incident')} ({counted(self.events, 'event')}). Valid only for the "
            "hours, seasons, and weather in the footage"
        )

    def require(self, *, bundle: str, setup_hash: str | None, rules: EventRules) -> None:
        """CalibrationError unless it belongs to this bundle, these masks and zones, and these rules."""
        for item, expected, actual in (
            ("another bundle", self.calibration.bundle, bundle),
            ("other masks and zones", self.setup_hash, setup_hash),
            ("other rules", self.rules, rules),
        ):
            if expected != actual:
                raise CalibrationError(
                    f"the alarm budget of camera {self.camera} belongs to {item} ({expected}, now {actual}), "
                    "so its guarantee does not apply; calibrate this camera again"
                )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        names = ("low_threshold", "hysteresis", "camera", "setup_hash", "events", "incidents", "hours")
        return {
            "format_version": FORMAT_VERSION,
            "calibration": self.calibration.to_json(),
            "rules": self.rules.model_dump(),
            **{name: getattr(self, name) for name in names},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> AlarmBudget:
        """The budget that `to_json` wrote; CalibrationError for another format, or missing or unknown keys."""
        stored = dict(values)
        stored_version = stored.pop("format_version", None)
        if stored_version != FORMAT_VERSION or set(stored) != {field.name for field in fields(cls)}:
            raise CalibrationError(
                f"alarm budget in format {stored_version} with keys {sorted(stored)}: calibrate this camera again"
            )
        plain = _Stored.model_validate(stored)
        calibration = Calibration.from_json(plain.calibration)
        if not plain.low_threshold <= calibration.threshold:
            raise CalibrationError(
                f"alarm budget that opens events above {calibration.threshold:g} and ends them at "
                f"{plain.low_threshold:g}; expected the second no higher: calibrate this camera again"
            )
        return cls(**{**dict(plain), "calibration": calibration})


def budget_incidents(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    rules: EventRules,
    kind: Kind,
    bundle: str,
    confidence: float | None = None,
    camera: str = "",
    setup_hash: str | None = None,
    hysteresis: float = RulesConfig().hysteresis,
) -> AlarmBudget:
    """Thresholds for `rate` incidents, from the scores of normal footage of one camera.

    confidence: None: the expected rate is at most `rate`; percent: with this confidence, the mean rate is.
    peaks: for each video, the highest map value of every frame (T,), for the pixel threshold.
    Raises CalibrationError for a video without a clock, and when the footage cannot support the rate; the message
    states the footage that the rate needs.
    """
    footage = Footage(videos, rules)
    scores = np.sort(np.concatenate([np.zeros(0), *(video.scores[video.scored] for video in videos)]))
    exposure = footage.hours * rate.per_hour / rate.value  # in hours or days, as the rate
    median = float(np.median(scores)) if len(scores) else 0.0
    rung = _find_rung(footage, exposure, rate, confidence, lambda level: low_threshold(level, median, hysteresis))
    pixel = None
    if peaks is not None:
        highest = footage.minute_maxima(peaks)
        pixel = float(highest[max(0, len(highest) - rung.minutes - 1)])
    calibration = Calibration(
        kind=kind,
        rate=rate,
        explicit=True,
        threshold=rung.threshold,
        pixel_threshold=pixel,
        interval=later_interval(rung.incidents, exposure, 1.0, rung.dispersion),
        effective=exposure,
        rank=rung.incidents + 1.0,
        groups=len(videos),
        scores=tuple(float(score) for score in scores),
        bundle=bundle,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        block_s=3600 * rate.value / rate.per_hour,
        dispersion=rung.dispersion,
        confidence=confidence,
    )
    return AlarmBudget(
        calibration=calibration,
        low_threshold=rung.low_threshold,
        hysteresis=hysteresis,
        rules=rules,
        camera=camera,
        setup_hash=setup_hash,
        events=rung.events,
        incidents=rung.incidents,
        hours=footage.hours,
    )


def _find_rung(
    footage: Footage, exposure: float, rate: Rate, confidence: float | None, low: Callable[[float], float]
) -> Rung:
    """The lowest threshold that supports the rate; CalibrationError if there is none."""
    if rate.per_hour * footage.rules.incident_gap_s >= _HOUR_S:
        gap = duration_text(footage.rules.incident_gap_s)
        raise CalibrationError(
            f"{rate} is too high, because events less than {gap} apart are one incident: set a lower rate, or a "
            "shorter --incident-gap"
        )
    accepted, spread, share = None, MIN_DISPERSION, None if confidence is None else confidence / 100
    for threshold in footage.ladder if exposure * rate.value >= 1 - _ROUNDING else ():
        rung = footage.count(threshold, low(threshold))
        usual = max(rung.in_alarm, rung.minutes / len(footage.levels))
        if rung.incidents > rate.value * exposure or usual > _MOST:
            break
        if share is None or mean_bound(rung.incidents, exposure, rung.dispersion, share) <= rate.value:
            accepted = rung
        spread = rung.dispersion
    if accepted is not None:
        return accepted
    hours = rate.value / rate.per_hour  # of the unit of the rate, and without an incident
    needed = (1.0 if share is None else mean_bound(0, 1.0, spread, share)) / rate.value * hours
    supported = replace(rate, value=_round_up(rate.value * needed / footage.hours)) if footage.hours else None
    raise CalibrationError(
        f"{rate} cannot be supported by {duration_text(3600 * footage.hours)} of footage; it needs "
        + duration_text(3600 * needed)
        + ("" if share is None else " without an incident")
        + f". Add normal footage, or set {'a higher rate' if supported is None else f'a rate of {supported} or more'}"
    )


def _round_up(value: float) -> float:
    """Round up to two digits."""
    digits = 1 - math.floor(math.log10(value))
    return float(math.ceil(round(value * 10**digits, 6)) / 10**digits)
