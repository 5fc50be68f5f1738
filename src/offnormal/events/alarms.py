"""Alarms of scored frames by the event rules, for evaluate, predict, and calibrate; `watch` raises the same ones.

An alarm is an event of `events.machine`; an event that was split at `max_duration` counts as one alarm. An alarm that
lasts until the end of a video ends with the last frame; in `watch`, which does not know how long that frame lasts, with
its last score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

from offnormal.errors import UsageError
from offnormal.events.machine import EventMachine, EventRules, Occurrence
from offnormal.metrics.video import FrameScores

FrameT = TypeVar("FrameT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Frames start <= i < stop above the threshold, by the event rules."""

    start: int
    stop: int
    peak: int  # the frame with its highest score
    start_s: float
    end_s: float
    opened_s: float  # when it had lasted for the minimum duration


def find_alarms(
    video: FrameScores, threshold: float, rules: EventRules, low_threshold: float | None = None
) -> list[Alarm]:
    """Alarms of one video with a clock. A restart of the clock ends an alarm, a lost frame does not.

    low_threshold: an alarm ends at or below it; None: at the threshold itself. Raises UsageError for a video without a
    clock, ConfigError if low_threshold is above threshold.
    """
    if not video.clock.has_clock:
        raise UsageError(f"{video.name}: no frame times, but alarms need them; set the frame rate with --fps")
    bounds = pairwise([0, *sorted(video.clock.restarts), len(video.scores)])
    return [
        alarm
        for start, stop in bounds
        for alarm in _in_segment(video, slice(start, stop), threshold, rules, low_threshold)
    ]


def _in_segment(
    video: FrameScores, rows: slice, threshold: float, rules: EventRules, low_threshold: float | None
) -> list[Alarm]:
    lost = set(video.lost)
    frames = [frame for frame in range(rows.start, rows.stop) if frame not in lost]
    times, scores = video.clock.times_s[frames], video.held_scores[frames]
    machine = EventMachine(rules, threshold, low_threshold)
    occurrences = [*machine.push_all(times, scores), *machine.finish()]
    index = dict(zip(times.tolist(), frames, strict=True))
    opened: dict[float, float] = {}
    alarms: list[Alarm] = []
    for occurrence in occurrences:
        if not occurrence.is_over:
            opened[occurrence.start_s] = occurrence.end_s
        elif occurrence.continues_s is not None and alarms:
            alarms[-1] = _merge(alarms[-1], occurrence, index, video, machine.low_threshold)
        else:
            first_s = opened[occurrence.start_s]
            alarms.append(_alarm(occurrence, first_s, index, video, machine.low_threshold))
    return alarms


def _alarm(occurrence: Occurrence, opened_s: float, index: dict[float, int], video: FrameScores, low: float) -> Alarm:
    end = index[occurrence.end_s]
    is_inside = bool(video.held_scores[end] > low)  # ends before the first low frame, or with the last frame
    return Alarm(
        start=index[occurrence.start_s],
        stop=end + is_inside,
        peak=index[occurrence.peak_s],
        start_s=occurrence.start_s,
        end_s=float(video.clock.ends_s[end]) if is_inside else occurrence.end_s,
        opened_s=opened_s,
    )


def _merge(earlier: Alarm, occurrence: Occurrence, index: dict[float, int], video: FrameScores, low: float) -> Alarm:
    later, scores = _alarm(occurrence, earlier.opened_s, index, video, low), video.held_scores
    return Alarm(
        start=earlier.start,
        stop=later.stop,
        peak=later.peak if scores[later.peak] > scores[earlier.peak] else earlier.peak,
        start_s=earlier.start_s,
        end_s=later.end_s,
        opened_s=earlier.opened_s,
    )


class AlarmPeaks(Generic[FrameT]):
    """Finds the peak frame of each alarm of a video in one pass, and stores only the peak of the current alarm.

    Without a threshold, the whole video counts as one alarm. A time that does not rise restarts the clock.
    """

    def __init__(self, threshold: float | None, rules: EventRules, low_threshold: float | None = None) -> None:
        self._make = partial(EventMachine, rules, threshold, low_threshold) if threshold is not None else None
        self._machine = None if self._make is None else self._make()
        self._last_s = -math.inf
        self._highest: tuple[float, FrameT] | None = None

    def push(self, frame: FrameT, score: float, time_s: float, *, restarts: bool = False) -> FrameT | None:
        """Add the next frame; return the peak frame of an alarm that ends with it. score: NaN if there is none.

        restarts: the clock restarts with this frame, although its time continues.
        """
        over = self.end() if restarts or time_s <= self._last_s else None
        self._last_s = time_s
        if self._machine is not None:
            if any(occurrence.is_over for occurrence in self._machine.push(time_s, score)):
                over, self._highest = self._highest_frame(), None
            if not (self._machine.is_open or self._machine.is_rising):
                self._highest = None
                return over
        if not math.isnan(score) and (self._highest is None or score > self._highest[0]):
            self._highest = score, frame
        return over

    def end(self) -> FrameT | None:
        """The peak frame of an alarm that lasts until the end, or until the clock restarts."""
        highest = self._highest_frame() if self._machine is None or self._machine.is_open else None
        self._machine, self._highest = None if self._make is None else self._make(), None
        return highest

    def _highest_frame(self) -> FrameT | None:
        return None if self._highest is None else self._highest[1]
