"""What an operator would live through at one threshold: false alarms per hour, how late, and what is never seen.

The words, exactly. A frame is above the threshold where score > threshold; a frame not scored (NaN) never is. How long
a frame lasts, and where one video breaks into segments, is for `metrics.clock` to say. An *alarm* is an unbroken
run of frames above the threshold, joined with the next run where no more than `merge_gap_s` lie between the end of
the one and the start of the other; it stays on in between, as an alarm with a hold does. A *span* is an unbroken run
of frames labelled anomalous. Both end where the clock starts anew, or jumps by more than `merge_gap_s`.
An alarm is true where it is on during any frame of a span, else false; a span is caught where an alarm is on during any
of its frames, and its delay reaches from the span's start to the first such frame (0 where the alarm was on already).
Alarms and spans never reach from one video into the next.

An alarm that never ends catches everything at once and is no false alarm: `normal_time_in_alarm` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.errors import UsageError
from offnormal.metrics.clock import Clock
from offnormal.metrics.inputs import BoolArray
from offnormal.metrics.video import FrameScores

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: frames start <= i < stop of a video, on from start_s to end_s."""

    video: str
    start: int
    stop: int
    start_s: float
    end_s: float
    peak: int  # the frame with its highest score
    false: bool | None  # None: the video has no labels


@dataclass(frozen=True, slots=True)
class Span:
    """One labelled anomaly: frames start <= i < stop of a video, from start_s to end_s."""

    video: str
    start: int
    stop: int
    start_s: float
    end_s: float
    scored: bool  # whether any of its frames has a score; else it is neither caught nor missed
    delay_s: float | None  # from its start to the first frame in alarm; None: not caught


@dataclass(frozen=True, slots=True)
class Operation:
    """What a threshold does over several videos; shares lie in 0-1, None where there is nothing to divide by."""

    threshold: float
    merge_gap_s: float
    alarms: list[Alarm]  # video by video in the order given, by time
    spans: list[Span]
    footage_s: float  # of frames with a score
    footage_in_alarm_s: float
    normal_s: float  # of frames with a score that are labelled normal
    normal_in_alarm_s: float

    @property
    def false_alarms(self) -> int:
        """Alarms that touch no labelled span."""
        return sum(alarm.false is True for alarm in self.alarms)

    @property
    def false_alarms_per_hour(self) -> float | None:
        """False alarms per hour of scored footage that is labelled normal."""
        return self.false_alarms * _HOUR_S / self.normal_s if self.normal_s else None

    @property
    def alarms_per_hour(self) -> float | None:
        """Alarms of any kind per hour of scored footage, with or without labels."""
        return len(self.alarms) * _HOUR_S / self.footage_s if self.footage_s else None

    @property
    def delays_s(self) -> list[float]:
        """Detection delay of each span caught, in seconds."""
        return [span.delay_s for span in self.spans if span.delay_s is not None]

    @property
    def median_delay_s(self) -> float | None:
        """Median detection delay of the spans caught."""
        return float(np.median(self.delays_s)) if self.delays_s else None

    @property
    def caught(self) -> int:
        """Spans during which an alarm was on."""
        return len(self.delays_s)

    @property
    def missed(self) -> int:
        """Spans with scores during which no alarm was on."""
        return sum(span.scored and span.delay_s is None for span in self.spans)

    @property
    def caught_share(self) -> float | None:
        """Spans caught among those with scores."""
        judged = self.caught + self.missed
        return self.caught / judged if judged else None

    @property
    def time_in_alarm(self) -> float | None:
        """Share of the scored footage during which an alarm was on."""
        return self.footage_in_alarm_s / self.footage_s if self.footage_s else None

    @property
    def normal_time_in_alarm(self) -> float | None:
        """Share of the scored normal footage during which an alarm was on, true alarms included."""
        return self.normal_in_alarm_s / self.normal_s if self.normal_s else None


def operate(videos: Sequence[FrameScores], threshold: float, *, merge_gap_s: float = 1.0) -> Operation:
    """Alarms, spans and times in alarm of several videos at a threshold, in the words above.

    Raises UsageError for a video without a clock, a negative gap or a threshold that is no number.
    """
    if np.isnan(threshold) or not 0 <= merge_gap_s < np.inf:
        raise UsageError(
            f"threshold {threshold:g}, merge_gap_s {merge_gap_s:g}: expected a number, and 0 or more seconds"
        )
    alarms: list[Alarm] = []
    spans: list[Span] = []
    seconds = np.zeros(4)
    for video in videos:
        clock, scores = video.clock, video.standing
        if not clock.has_clock:
            raise UsageError(f"{video.name}: has no clock, so nothing can be said per hour; give its rate with --fps")
        events = alarm_runs(scores, threshold, clock, merge_gap_s)
        sounding = _flags(events, scores.size)
        scored = ~np.isnan(scores)
        alarms += [_alarm(video, start, stop) for start, stop in events]
        if video.labels is not None:
            runs_of_labels = clock.runs(video.labels, merge_gap_s)
            spans += [_span(video, scored, sounding, start, stop) for start, stop in runs_of_labels]
        normal = scored if video.labels is None else scored & ~video.labels
        parts = (scored, scored & sounding, normal, normal & sounding)
        counted = [float(clock.durations_s[part].sum()) for part in parts]
        seconds += counted if video.labels is not None else [*counted[:2], 0.0, 0.0]
    return Operation(float(threshold), float(merge_gap_s), alarms, spans, *(float(part) for part in seconds))


def alarm_runs(scores: np.ndarray, threshold: float, clock: Clock, merge_gap_s: float) -> list[tuple[int, int]]:
    """Alarms of one video with scores (T,) as (start, stop) frames."""
    merged: list[tuple[int, int]] = []
    for start, stop in clock.runs(scores > threshold, merge_gap_s):
        if merged and clock.gap_s(merged[-1][1] - 1, start) <= merge_gap_s:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def _flags(stretches: list[tuple[int, int]], size: int) -> BoolArray:
    flags = np.zeros(size, np.bool_)
    for start, stop in stretches:
        flags[start:stop] = True
    return flags


def _alarm(video: FrameScores, start: int, stop: int) -> Alarm:
    return Alarm(
        video=video.name,
        start=start,
        stop=stop,
        start_s=float(video.clock.times_s[start]),
        end_s=float(video.clock.ends_s[stop - 1]),
        peak=start + int(np.nanargmax(video.scores[start:stop])),
        false=None if video.labels is None else not bool(video.labels[start:stop].any()),
    )


def _span(video: FrameScores, scored: BoolArray, sounding: BoolArray, start: int, stop: int) -> Span:
    times = video.clock.times_s
    is_scored = bool(scored[start:stop].any())
    first = np.flatnonzero(sounding[start:stop] & is_scored)
    return Span(
        video=video.name,
        start=start,
        stop=stop,
        start_s=float(times[start]),
        end_s=float(video.clock.ends_s[stop - 1]),
        scored=is_scored,
        delay_s=float(times[start + first[0]] - times[start]) if first.size else None,
    )
