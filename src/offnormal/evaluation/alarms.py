"""Alarms at one threshold: false alarms per hour, detection delays, and missed spans.

An *alarm* is a run of frames by the event rules (`events.alarms`), as in `watch`. A frame lasts until the next one
starts. A *span* is a run of frames labeled anomalous. An alarm is true if any of its frames is in a span, otherwise
false. A span is detected if an alarm is on during any of its frames; the delay is the time from the start of the span
to the opening of the alarm (0 if it was already open). Alarms and spans are within one video.

An alarm that never ends detects every span and is not a false alarm: `normal_time_in_alarm` reveals it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from offnormal.events.alarms import Alarm, find_alarms
from offnormal.events.incidents import alert_times
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores

COVERS_NORMAL_FOOTAGE = (
    "No alarm is false, because each one touches a labeled span. But the alarms continue into normal footage: see the "
    "share of normal footage in alarm."
)
"""The explanation of a report that `covers_normal_footage`."""
_HOUR_S = 3600.0
_NOTABLE = 0.01  # share of normal footage in alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoAlarm:
    """One alarm of a video."""

    video: str
    alarm: Alarm
    is_false: bool | None  # None: the video has no labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One labeled anomaly: frames start <= i < stop of a video, from start_s to end_s."""

    video: str
    start: int
    stop: int
    start_s: float
    end_s: float
    is_scored: bool  # whether any of its frames has a score; otherwise it is neither detected nor missed
    delay_s: float | None  # from its start to the opening of an alarm; None: not detected


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmReport:
    """Alarms of several videos at one threshold; shares are 0-1, None for a denominator of 0."""

    threshold: float
    low_threshold: float
    rules: EventRules
    alarms: list[VideoAlarm]  # by video in input order, then by time
    spans: list[Span]
    footage_s: float  # of frames with a score
    footage_in_alarm_s: float
    normal_s: float  # of frames with a score and the label normal
    normal_in_alarm_s: float

    @property
    def false_alarms(self) -> int:
        """Number of alarms without a frame in a labeled span."""
        return sum(alarm.is_false is True for alarm in self.alarms)

    @property
    def incidents(self) -> int:
        """Number of incidents, see `events.incidents`."""
        return self._incidents(self.alarms)

    @property
    def false_incidents(self) -> int:
        """Number of incidents of the false alarms."""
        return self._incidents([alarm for alarm in self.alarms if alarm.is_false])

    def _incidents(self, alarms: list[VideoAlarm]) -> int:
        by_video = groupby(alarms, lambda alarm: alarm.video)
        times = [[(alarm.alarm.start_s, alarm.alarm.end_s) for alarm in of] for _, of in by_video]
        return sum(len(alert_times(events, self.rules)) for events in times)

    @property
    def false_alarms_per_hour(self) -> float | None:
        """False alarms per hour of scored footage that is labeled normal."""
        return self.false_alarms * _HOUR_S / self.normal_s if self.normal_s else None

    @property
    def alarms_per_hour(self) -> float | None:
        """Alarms of any kind per hour of scored footage, with or without labels."""
        return len(self.alarms) * _HOUR_S / self.footage_s if self.footage_s else None

    @property
    def delays_s(self) -> list[float]:
        """Detection delay of each detected span, in seconds."""
        return [span.delay_s for span in self.spans if span.delay_s is not None]

    @property
    def median_delay_s(self) -> float | None:
        """Median detection delay of the detected spans."""
        return float(np.median(self.delays_s)) if self.delays_s else None

    @property
    def detected(self) -> int:
        """Number of spans with an alarm."""
        return len(self.delays_s)

    @property
    def missed(self) -> int:
        """Number of scored spans without an alarm."""
        return sum(span.is_scored and span.delay_s is None for span in self.spans)

    @property
    def time_in_alarm(self) -> float | None:
        """Share of scored footage in alarm."""
        return self.footage_in_alarm_s / self.footage_s if self.footage_s else None

    @property
    def normal_time_in_alarm(self) -> float | None:
        """Share of scored normal footage in alarm, including true alarms."""
        return self.normal_in_alarm_s / self.normal_s if self.normal_s else None

    @property
    def covers_normal_footage(self) -> bool:
        """Whether alarms cover much normal footage although none of them is false."""
        return not self.false_alarms and (self.normal_time_in_alarm or 0.0) >= _NOTABLE

    def to_json(self) -> dict[str, object]:
        """Convert to plain values for metrics.json."""
        counts = ("threshold", "low_threshold", "false_alarms", "false_alarms_per_hour", "alarms_per_hour")
        times = ("median_delay_s", "time_in_alarm", "normal_time_in_alarm", "footage_s", "normal_s")
        return {
            "rules": self.rules.model_dump(),
            "alarms": len(self.alarms),
            "incidents": self.incidents,
            "false_incidents": self.false_incidents,
            "spans_detected": self.detected,
            "spans_missed": self.missed,
            **{name: getattr(self, name) for name in (*counts, *times)},
        }


def report_alarms(
    videos: Sequence[FrameScores], threshold: float, rules: EventRules, low_threshold: float | None = None
) -> AlarmReport:
    """Find alarms, spans, and time in alarm of videos with a clock; low_threshold: see `find_alarms`."""
    alarms: list[VideoAlarm] = []
    spans: list[Span] = []
    seconds = np.zeros(4)
    for video in videos:
        video_alarms = find_alarms(video, threshold, rules, low_threshold)
        in_alarm = np.zeros(video.scores.size, np.bool_)
        for alarm in video_alarms:
            in_alarm[alarm.start : alarm.stop] = True
            is_false = None if video.labels is None else not video.labels[alarm.start : alarm.stop].any()
            alarms.append(VideoAlarm(video=video.name, alarm=alarm, is_false=is_false))
        scored = np.isfinite(video.held_scores)
        normal = scored & (False if video.labels is None else ~video.labels)
        if video.labels is not None:
            spans += [_span(video, video_alarms, *run) for run in video.clock.runs(video.labels, rules.max_gap_s)]
        durations = video.clock.durations_s
        seconds += [float(durations[rows].sum()) for rows in (scored, scored & in_alarm, normal, normal & in_alarm)]
    return AlarmReport(
        threshold=float(threshold),
        low_threshold=float(threshold if low_threshold is None else low_threshold),
        rules=rules,
        alarms=alarms,
        spans=spans,
        footage_s=float(seconds[0]),
        footage_in_alarm_s=float(seconds[1]),
        normal_s=float(seconds[2]),
        normal_in_alarm_s=float(seconds[3]),
    )


def _span(video: FrameScores, alarms: list[Alarm], start: int, stop: int) -> Span:
    is_scored = bool(np.isfinite(video.held_scores[start:stop]).any())
    start_s = float(video.clock.times_s[start])
    during = [alarm for alarm in alarms if alarm.start < stop and alarm.stop > start] if is_scored else []
    return Span(
        video=video.name,
        start=start,
        stop=stop,
        start_s=start_s,
        end_s=float(video.clock.ends_s[stop - 1]),
        is_scored=is_scored,
        delay_s=max(0.0, min(alarm.opened_s for alarm in during) - start_s) if during else None,
    )
