"""An alarm budget: the threshold for a number of events per hour or day, from a camera's normal footage.

A score opens an event when the lowest score of the last `min_duration_s` is above the threshold. The highest such value
of a block of footage is therefore the threshold below which the block raises an event. The threshold is an order
statistic of these block maxima (`calibration.footage`), for the effective number of blocks by their autocorrelation. A
block can raise several events: while the event rules, with hysteresis, merging, and cool-down, raise more events on the
footage than the guarantee allows, the threshold is raised from one block's value to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.footage import block_maxima, block_seconds, calibrate_footage
from offnormal.calibration.guarantee import order_statistic, rate_interval
from offnormal.config.rules import RulesConfig
from offnormal.errors import CalibrationError, counted, duration_text
from offnormal.events.alarms import find_alarms
from offnormal.events.machine import EventRules, low_threshold
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

FORMAT_VERSION = 2  # 2: calibrations with a rank


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
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmBudget:
    """The thresholds of one camera for a number of events per hour or day; stored in one file per camera."""

    calibration: Calibration
    low_threshold: float  # an event ends at or below it
    hysteresis: float
    rules: EventRules
    camera: str
    setup_hash: str | None  # hash of the masks and zones of the footage's scores
    events: int  # that the calibration footage itself raises
    hours: float  # of scored footage, in sufficiently full blocks

    @property
    def explanation(self) -> str:
        """The guarantee, its footage, and the number of events that the footage itself raises."""
        return (
            f"{self.calibration.explanation}; {duration_text(3600 * self.hours)} of footage, with "
            f"{counted(self.events, 'event')}. Valid only for the hours, seasons, and weather in the footage"
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
        names = ("low_threshold", "hysteresis", "camera", "setup_hash", "events", "hours")
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


def budget_events(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    rules: EventRules,
    kind: Kind,
    bundle: str,
    camera: str = "",
    setup_hash: str | None = None,
    hysteresis: float = RulesConfig().hysteresis,
) -> AlarmBudget:
    """Thresholds for at most `rate` events, from the scores of normal footage of one camera.

    peaks: for each video, the highest map value of every frame (T,), for the pixel threshold.
    Raises CalibrationError for a video without a clock, and when the footage cannot guarantee the rate; the message
    states the rate that it can guarantee and the footage that the rate needs.
    """
    opening = [replace(video, scores=_video_opening_levels(video, rules)) for video in videos]
    calibration = calibrate_footage(opening, peaks, rate=rate, kind=kind, bundle=bundle)
    blocks = block_maxima(opening, block_seconds(rate))
    highest = np.sort(blocks.maxima)
    allowed = len(highest) - order_statistic(len(highest), blocks.share(rate), blocks.effective)
    scores = np.sort(np.concatenate([video.scores[video.scored] for video in videos]))
    median = float(np.median(scores))
    for threshold in (float(value) for value in highest[len(highest) - allowed - 1 :]):
        low = low_threshold(threshold, median, hysteresis)
        events = sum(len(find_alarms(video, threshold, rules, low)) for video in videos)
        if events <= allowed:
            break
    above = max(events, int((highest > threshold).sum()))
    k = (len(highest) - above) * blocks.effective / len(highest)
    per_block = rate.value / blocks.share(rate)
    low_rate, high_rate = rate_interval(blocks.effective, k)
    calibration = replace(
        calibration,
        threshold=threshold,
        interval=(per_block * low_rate, per_block * high_rate),
        rank=blocks.effective + 1 - k,
        scores=tuple(float(score) for score in scores),
    )
    return AlarmBudget(
        calibration=calibration,
        low_threshold=low,
        hysteresis=hysteresis,
        rules=rules,
        camera=camera,
        setup_hash=setup_hash,
        events=events,
        hours=blocks.hours,
    )


def _opening_levels(times_s: np.ndarray, scores: np.ndarray, rules: EventRules) -> np.ndarray:
    """(T,) for each frame, the level below which a threshold opens an event there; NaN where none can.

    It is the lowest score of the shortest gap-free run that ends there and lasts for `min_duration_s`.
    """
    levels = np.full(len(scores), np.nan)
    start = first = 0  # of the gap-free run, and of its shortest tail that is long enough
    lowest: deque[int] = deque()  # indices of rising scores; the first is the lowest of the tail
    for i, (time_s, score) in enumerate(zip(times_s.tolist(), scores.tolist(), strict=True)):
        if np.isnan(score) or (i and time_s - times_s[i - 1] > rules.max_gap_s):
            lowest.clear()
            start = first = i + 1 if np.isnan(score) else i
            if np.isnan(score):
                continue
        while lowest and scores[lowest[-1]] >= score:
            lowest.pop()
        lowest.append(i)
        while first < i and time_s - times_s[first + 1] >= rules.min_duration_s:
            first += 1
        while lowest[0] < first:
            lowest.popleft()
        if first >= start and time_s - times_s[first] >= rules.min_duration_s:
            levels[i] = scores[lowest[0]]
    return levels


def _video_opening_levels(video: FrameScores, rules: EventRules) -> np.ndarray:
    """`_opening_levels` (T,) of a video; lost frames interrupt no run."""
    if not video.clock.has_clock:
        raise CalibrationError(
            f"{video.name}: no frame times, but event rates need them; set the frame rate with --fps"
        )
    levels = np.full(len(video.scores), np.nan)
    decoded = np.delete(np.arange(len(video.scores)), list(video.lost))
    levels[decoded] = _opening_levels(video.clock.times_s[decoded], video.scores[decoded], rules)
    return levels
