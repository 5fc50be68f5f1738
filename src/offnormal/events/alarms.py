"""The alarms of scored frames by the event rules: what watching would raise, for evaluate, predict, and calibrate.

An alarm is an event of `events.machine`; parts of one that grew too long count as one alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np

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
    opened_s: float  # when it had lasted long enough to be raised


def find_alarms(
    video: FrameScores, threshold: float, rules: EventRules, low_threshold: float | None = None
) -> list[Alarm]:
    """Alarms of one video with a clock; none reaches across a restart of it, and a lost frame interrupts none.

    low_threshold: an alarm ends at or below it; None: at the threshold itself. Raises UsageError for a video without a
    clock, ConfigError for a low threshold above the other.
    """
    if not video.clock.has_clock:
        raise UsageError(f"{video.name}: has no clock, which alarms need; give its frame rate with --fps")
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
    occurrences = [*machine.over(times, scores), *machine.finish()]
    index = dict(zip(times.tolist(), frames, strict=True))
    opened: dict[float, float] = {}
    alarms: list[Alarm] = []
    for occurrence in occurrences:
        if not occurrence.is_over:
            opened[occurrence.start_s] = occurrence.end_s
        elif occurrence.continues_s is not None and alarms:
            alarms[-1] = _joined(alarms[-1], occurrence, index, video.held_scores, machine.low_threshold)
        else:
            first_s = opened[occurrence.start_s]
            alarms.append(_alarm(occurrence, first_s, index, video.held_scores, machine.low_threshold))
    return alarms


def _alarm(occurrence: Occurrence, opened_s: float, index: dict[float, int], scores: np.ndarray, low: float) -> Alarm:
    end = index[occurrence.end_s]
    return Alarm(
        start=index[occurrence.start_s],
        stop=end + int(scores[end] > low),  # it ends with the first frame that is low, or with the last there is
        peak=index[occurrence.peak_s],
        start_s=occurrence.start_s,
        end_s=occurrence.end_s,
        opened_s=opened_s,
    )


def _joined(before: Alarm, occurrence: Occurrence, index: dict[float, int], scores: np.ndarray, low: float) -> Alarm:
    after = _alarm(occurrence, before.opened_s, index, scores, low)
    return Alarm(
        start=before.start,
        stop=after.stop,
        peak=after.peak if scores[after.peak] > scores[before.peak] else before.peak,
        start_s=before.start_s,
        end_s=after.end_s,
        opened_s=before.opened_s,
    )


class AlarmPeaks(Generic[FrameT]):
    """Follows the alarms of a video while its frames pass by and keeps one frame: the highest of the current alarm.

    Without a threshold the whole video counts as one alarm. It sees no later frame, so that times are taken as they
    come: where one does not rise, the clock restarts.
    """

    def __init__(self, threshold: float | None, rules: EventRules, low_threshold: float | None = None) -> None:
        self._make = partial(EventMachine, rules, threshold, low_threshold) if threshold is not None else None
        self._machine = None if self._make is None else self._make()
        self._last_s = -math.inf
        self._highest: tuple[float, FrameT] | None = None

    def push(self, frame: FrameT, score: float, time_s: float, *, restarts: bool = False) -> FrameT | None:
        """Take the next frame, NaN where it has no score; the highest frame of an alarm that is over now.

        restarts: the clock starts again with this frame, though its time continues.
        """
        over = self.end() if restarts or time_s <= self._last_s else None
        self._last_s = time_s
        if self._machine is not None:
            if any(occurrence.is_over for occurrence in self._machine.push(time_s, score)):
                over, self._highest = self._taken(), None
            if not (self._machine.is_open or self._machine.is_rising):
                self._highest = None
                return over
        if not math.isnan(score) and (self._highest is None or score > self._highest[0]):
            self._highest = score, frame
        return over

    def end(self) -> FrameT | None:
        """The highest frame of the alarm that lasts until the end, or until the clock restarts, if one does."""
        highest = self._taken() if self._machine is None or self._machine.is_open else None
        self._machine, self._highest = None if self._make is None else self._make(), None
        return highest

    def _taken(self) -> FrameT | None:
        return None if self._highest is None else self._highest[1]
