"""What an operator would live through at one threshold: false alarms per hour, how late, and what is never seen.

The words, exactly. A frame is above the threshold where score > threshold; a frame not scored (NaN) never is. A frame
lasts until the next one begins, the last one of a video as long as the median of the others. An *alarm* is an unbroken
run of frames above the threshold, joined with the next run where no more than `merge_gap_s` lie between the end of
the one and the start of the other; it stays on in between, as an alarm with a hold does. A *span* is an unbroken run
of frames labelled anomalous. An alarm is true where it is on during any frame of a span, else false; a span is caught
where an alarm is on during any of its frames, and its delay reaches from the span's start to the first such frame (0
where the alarm was on already). Alarms and spans never reach from one video into the next.

An alarm that never ends catches everything at once and is no false alarm: `normal_time_in_alarm` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import UsageError
from offnormal.metrics.inputs import BoolArray
from offnormal.metrics.video import FloatSeries, FrameScores

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


def operate(
    videos: Sequence[FrameScores], threshold: float, *, merge_gap_s: float = 1.0, fps: float | None = None
) -> Operation:
    """Alarms, spans and times in alarm of several videos at a threshold, in the words above.

    fps: the clock of videos that have none of their own. Raises UsageError for such a video without it, a negative
    gap or a threshold that is no number.
    """
    if np.isnan(threshold) or not 0 <= merge_gap_s < np.inf or (fps is not None and not 0 < fps < np.inf):
        raise UsageError(
            f"threshold {threshold:g}, merge_gap_s {merge_gap_s:g}, fps {fps}: expected a number, 0 or more seconds, "
            "and frames per second above 0"
        )
    alarms: list[Alarm] = []
    spans: list[Span] = []
    seconds = np.zeros(4)
    for video in videos:
        edges = frame_edges(_times(video, fps))
        events = alarm_runs(video.scores, threshold, edges, merge_gap_s)
        sounding = _flags(events, video.scores.size)
        alarms += [_alarm(video, edges, start, stop) for start, stop in events]
        if video.labels is not None:
            spans += [_span(video, edges, sounding, start, stop) for start, stop in runs(video.labels)]
        normal = video.scored if video.labels is None else video.scored & ~video.labels
        lasting = np.diff(edges)
        parts = (video.scored, video.scored & sounding, normal, normal & sounding)
        counted = [float(lasting[part].sum()) for part in parts]
        seconds += counted if video.labels is not None else [*counted[:2], 0.0, 0.0]
    return Operation(float(threshold), float(merge_gap_s), alarms, spans, *(float(part) for part in seconds))


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Unbroken runs of true in flags (T,), as (start, stop) with start <= i < stop.

    >>> runs(np.array([0, 1, 1, 0, 1], bool))
    [(1, 3), (4, 5)]
    """
    turns = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in turns.reshape(-1, 2)]


def alarm_runs(
    scores: np.ndarray, threshold: float, edges: NDArray[np.float64], merge_gap_s: float
) -> list[tuple[int, int]]:
    """Alarms of one video as (start, stop) frames; scores (T,), edges (T + 1,) seconds as of `frame_edges`."""
    merged: list[tuple[int, int]] = []
    for start, stop in runs(scores > threshold):
        if merged and edges[start] - edges[merged[-1][1]] <= merge_gap_s:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def frame_edges(times_s: np.ndarray) -> FloatSeries:
    """Where frames at (T,) seconds begin, and where the last one ends, (T + 1,): it lasts as long as the median.

    A single frame lasts one second.

    >>> frame_edges(np.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0, 1.5]
    """
    gaps = np.diff(times_s)
    return np.append(times_s, times_s[-1] + (float(np.median(gaps)) if gaps.size else 1.0))


def _times(video: FrameScores, fps: float | None) -> FloatSeries:
    if video.times_s is not None:
        return video.times_s
    if fps is None:
        raise UsageError(f"{video.name}: has no clock, so nothing can be said per hour; give its frames per second")
    return np.arange(video.scores.size) / fps


def _flags(stretches: list[tuple[int, int]], size: int) -> BoolArray:
    flags = np.zeros(size, np.bool_)
    for start, stop in stretches:
        flags[start:stop] = True
    return flags


def _alarm(video: FrameScores, edges: FloatSeries, start: int, stop: int) -> Alarm:
    return Alarm(
        video=video.name,
        start=start,
        stop=stop,
        start_s=float(edges[start]),
        end_s=float(edges[stop]),
        peak=start + int(np.nanargmax(video.scores[start:stop])),
        false=None if video.labels is None else not bool(video.labels[start:stop].any()),
    )


def _span(video: FrameScores, edges: FloatSeries, sounding: BoolArray, start: int, stop: int) -> Span:
    scored = bool(video.scored[start:stop].any())
    first = np.flatnonzero(sounding[start:stop] & scored)
    return Span(
        video=video.name,
        start=start,
        stop=stop,
        start_s=float(edges[start]),
        end_s=float(edges[stop]),
        scored=scored,
        delay_s=float(edges[start + first[0]] - edges[start]) if first.size else None,
    )
