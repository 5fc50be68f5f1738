"""What an operator would live through at one threshold: false alarms per hour, delays, and what is missed.

An *alarm* is an event by the event rules (`events.alarms`), as watching raises it. A frame lasts until the next one
begins. A *span* is an unbroken run of frames labeled anomalous. An alarm is true if any of its frames lies in a span,
else false; a span is detected if an alarm is on during any of its frames, and its delay reaches from the span's start
to the moment the alarm opened (0 if it was open already). Alarms and spans never reach from one video into the next.

An alarm that never ends detects everything at once and is no false alarm: `normal_time_in_alarm` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.events.alarms import Alarm, find_alarms
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores

_HOUR_S = 3600.0


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
    is_scored: bool  # whether any of its frames has a score; else it is neither detected nor missed
    delay_s: float | None  # from its start until an alarm was open; None: not detected


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmReport:
    """What a threshold does over several videos; shares lie in 0-1, None where there is nothing to divide by."""

    threshold: float
    low_threshold: float
    rules: EventRules
    alarms: list[VideoAlarm]  # video by video in the order given, by time
    spans: list[Span]
    footage_s: float  # of frames with a score
    footage_in_alarm_s: float
    normal_s: float  # of frames with a score that are labeled normal
    normal_in_alarm_s: float

    @property
    def false_alarms(self) -> int:
        """Alarms that touch no labeled span."""
        return sum(alarm.is_false is True for alarm in self.alarms)

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
        """Spans during which an alarm was on."""
        return len(self.delays_s)

    @property
    def missed(self) -> int:
        """Spans with scores during which no alarm was on."""
        return sum(span.is_scored and span.delay_s is None for span in self.spans)

    @property
    def time_in_alarm(self) -> float | None:
        """Share of the scored footage during which an alarm was on."""
        return self.footage_in_alarm_s / self.footage_s if self.footage_s else None

    @property
    def normal_time_in_alarm(self) -> float | None:
        """Share of the scored normal footage during which an alarm was on, true alarms included."""
        return self.normal_in_alarm_s / self.normal_s if self.normal_s else None

    def to_json(self) -> dict[str, object]:
        """Plain values for metrics.json."""
        names = ("threshold", "low_threshold", "false_alarms", "false_alarms_per_hour", "alarms_per_hour")
        more = ("median_delay_s", "time_in_alarm", "normal_time_in_alarm", "footage_s", "normal_s")
        return {
            "rules": self.rules.model_dump(),
            "alarms": len(self.alarms),
            "spans_detected": self.detected,
            "spans_missed": self.missed,
            **{name: getattr(self, name) for name in (*names, *more)},
        }


def report_alarms(
    videos: Sequence[FrameScores], threshold: float, rules: EventRules, low_threshold: float | None = None
) -> AlarmReport:
    """Alarms, spans, and time in alarm of several videos with times; low_threshold: see `find_alarms`."""
    alarms: list[VideoAlarm] = []
    spans: list[Span] = []
    seconds = np.zeros(4)
    for video in videos:
        of_video = find_alarms(video, threshold, rules, low_threshold)
        in_alarm = np.zeros(video.scores.size, np.bool_)
        for alarm in of_video:
            in_alarm[alarm.start : alarm.stop] = True
            is_false = None if video.labels is None else not video.labels[alarm.start : alarm.stop].any()
            alarms.append(VideoAlarm(video=video.name, alarm=alarm, is_false=is_false))
        scored = np.isfinite(video.held_scores)
        normal = scored & (False if video.labels is None else ~video.labels)
        if video.labels is not None:
            spans += [_span(video, of_video, *run) for run in video.clock.runs(video.labels, rules.max_gap_s)]
        lasting = video.clock.durations_s
        seconds += [float(lasting[rows].sum()) for rows in (scored, scored & in_alarm, normal, normal & in_alarm)]
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
