"""An alarm budget instead of a threshold: so many events in a time, learned from a camera's normal footage.

A score opens an event when the lowest of the last `min_duration_s` is above the threshold, so the highest such value
of each block of footage says at which thresholds that block would have raised one. The threshold is an order statistic
of these block maxima (`calibration.footage`), with as many blocks as their autocorrelation leaves. Where the whole
machine, with hysteresis, merging and cool-down, still raises more events on that footage than the guarantee leaves room
for, since a block can raise several, the threshold is raised from one block's value to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.footage import block_maxima, block_seconds, calibrate_footage
from offnormal.calibration.guarantee import order_statistic, rate_interval
from offnormal.config.rules import RulesConfig
from offnormal.errors import CalibrationError
from offnormal.events.alarms import find_alarms
from offnormal.events.machine import EventRules, low_threshold
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

FORMAT_VERSION = 2  # 2: calibrations with a rank


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmBudget:
    """The thresholds of one camera for so many events in a time; a file of its own."""

    calibration: Calibration
    low_threshold: float  # an event ends at or below it
    hysteresis: float
    rules: EventRules
    camera: str
    conditions: str | None  # hash of masks and zones that the scores were made with
    events: int  # that the footage itself would have raised
    hours: float  # of footage with scores, in blocks that are full enough

    @property
    def explanation(self) -> str:
        """What is guaranteed, what it rests on, and what the footage itself would have raised."""
        return (
            f"{self.calibration.explanation}; {self.hours:.3g} h of footage, which would have raised {self.events}. "
            "It speaks of hours, seasons and weather that the footage shows, and of no others"
        )

    def require(self, *, bundle: str, conditions: str | None, rules: EventRules) -> None:
        """CalibrationError unless it was made with this bundle, these masks and zones, and these rules."""
        for what, mine, theirs in (
            ("bundle", self.calibration.bundle, bundle),
            ("masks and zones", self.conditions, conditions),
            ("rules", self.rules, rules),
        ):
            if mine != theirs:
                raise CalibrationError(
                    f"the alarm budget of camera {self.camera} was made with other {what} ({mine}, now {theirs}): "
                    "its guarantee does not hold here; calibrate this camera again"
                )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        own = {name: getattr(self, name) for name in ("low_threshold", "hysteresis", "camera", "conditions")}
        return {
            "format_version": FORMAT_VERSION,
            "calibration": self.calibration.to_json(),
            "rules": self.rules.model_dump(),
            **own,
            "events": self.events,
            "hours": self.hours,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> AlarmBudget:
        """The budget of `to_json`; CalibrationError for another format, or keys missing or unknown."""
        stored = dict(values)
        found = stored.pop("format_version", None)
        if found != FORMAT_VERSION or set(stored) != {field.name for field in fields(cls)}:
            raise CalibrationError(
                f"alarm budget in format {found} with keys {sorted(stored)}: calibrate this camera again"
            )
        stored["calibration"] = Calibration.from_json(stored["calibration"])
        stored["rules"] = EventRules(**stored["rules"])
        return cls(**stored)


def budget_events(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    rules: EventRules,
    kind: Kind,
    bundle: str,
    camera: str = "",
    conditions: str | None = None,
    hysteresis: float = RulesConfig().hysteresis,
) -> AlarmBudget:
    """Thresholds for at most so many events in a time, from the scores of normal footage of one camera.

    peaks: for each video the highest map value of every frame (T,), for the pixel threshold.
    Raises CalibrationError for a video without a clock, and when the footage cannot guarantee the rate, saying what it
    can and how much it would take.
    """
    opening = [replace(video, scores=_opening_levels_of(video, rules)) for video in videos]
    found = calibrate_footage(opening, peaks, rate=rate, kind=kind, bundle=bundle)
    blocks = block_maxima(opening, block_seconds(rate))
    highest = np.sort(blocks.maxima)
    allowed = len(highest) - order_statistic(len(highest), blocks.share(rate), blocks.effective)
    scores = np.sort(np.concatenate([video.scores[video.scored] for video in videos]))
    usual = float(np.median(scores))
    for threshold in (float(value) for value in highest[len(highest) - allowed - 1 :]):
        low = low_threshold(threshold, usual, hysteresis)
        events = sum(len(find_alarms(video, threshold, rules, low)) for video in videos)
        if events <= allowed:
            break
    above = max(events, int((highest > threshold).sum()))
    k = (len(highest) - above) * blocks.effective / len(highest)
    per_block = rate.value / blocks.share(rate)
    least, most = rate_interval(blocks.effective, k)
    calibration = replace(
        found,
        threshold=threshold,
        interval=(per_block * least, per_block * most),
        rank=blocks.effective + 1 - k,
        scores=tuple(float(score) for score in scores),
    )
    return AlarmBudget(
        calibration=calibration,
        low_threshold=low,
        hysteresis=hysteresis,
        rules=rules,
        camera=camera,
        conditions=conditions,
        events=events,
        hours=blocks.hours,
    )


def _opening_levels(times_s: np.ndarray, scores: np.ndarray, rules: EventRules) -> np.ndarray:
    """(T,) for each frame the value below which a threshold would open an event there; NaN where none can.

    It is the lowest score of the shortest unbroken stretch that ends there and lasts for `min_duration_s`.
    """
    levels = np.full(len(scores), np.nan)
    start = first = 0  # of the unbroken stretch, and of the shortest part of it that is long enough
    lowest: deque[int] = deque()  # indices of rising scores; the first is the lowest of the part
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


def _opening_levels_of(video: FrameScores, rules: EventRules) -> np.ndarray:
    """`_opening_levels` (T,) of a video, whose lost frames interrupt nothing."""
    if not video.clock.has_clock:
        raise CalibrationError(f"{video.name} has no clock, which events in a time need: give its rate with --fps")
    levels = np.full(len(video.scores), np.nan)
    seen = np.delete(np.arange(len(video.scores)), list(video.lost))
    levels[seen] = _opening_levels(video.clock.times_s[seen], video.scores[seen], rules)
    return levels
