"""Alarms of scored frames by the event rules, for evaluate, predict, and calibrate; `watch` raises the same ones.

An alarm is an event of `events.machine`; an event that was split at `max_duration` counts as one alarm. An alarm that
lasts until the end of a video ends with the last frame; in `watch`, which does not know how long that frame lasts, with
its last score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np

from offnormal.errors import UsageError
from offnormal.events.machine import EventMachine, EventRules
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
    return VideoScan(video, rules).alarms(threshold, low_threshold)


class VideoScan:
    """Finds the alarms of one video at any threshold; UsageError for a video without a clock."""

    def __init__(self, video: FrameScores, rules: EventRules) -> None:
        if not video.clock.has_clock:
            raise UsageError(f"{video.name}: no frame times, but alarms need them; set the frame rate with --fps")
        times, scores, lost = video.clock.times_s, video.held_scores, list(video.lost)
        self._ends_s = video.clock.ends_s
        self._segments: list[tuple[np.ndarray, EventScan]] = []  # decoded frames between restarts
        for start, stop in pairwise([0, *sorted(video.clock.restarts), len(scores)]):
            frames = np.setdiff1d(np.arange(start, stop), lost, assume_unique=True)
            self._segments.append((frames, EventScan(times[frames], scores[frames], rules)))

    def alarms(self, threshold: float, low_threshold: float | None = None) -> list[Alarm]:
        """Alarms at a threshold, see `find_alarms`."""
        return [
            Alarm(
                start=int(frames[start]),
                stop=int(frames[end]) + int(stop > end),
                peak=int(frames[start + int(np.nanargmax(scan.scores[start:stop]))]),
                start_s=float(scan.times_s[start]),
                end_s=float(self._ends_s[frames[end]] if stop > end else scan.times_s[end]),
                opened_s=float(scan.times_s[opened]),
            )
            for frames, scan in self._segments
            for start, opened, end, stop in scan.events(threshold, low_threshold)
        ]


class EventScan:
    """Finds the events of a whole series at any threshold: those of `EventMachine`, in time that grows with events.

    Between the frames where the machine's state changes, it jumps. An event that the machine splits at `max_duration_s`
    is one event here.
    """

    def __init__(self, times_s: np.ndarray, scores: np.ndarray, rules: EventRules) -> None:
        """times_s, scores: (T,), NaN where there is no score; times rise."""
        self.times_s, self.scores, self.rules = times_s, scores, rules
        self._after_gaps = np.flatnonzero(np.diff(times_s) > rules.max_gap_s) + 1

    def events(self, threshold: float, low_threshold: float | None = None) -> Iterator[tuple[int, int, int, int]]:
        """Frames where an event starts, opens, and ends, and the first frame after it.

        It ends with the first low frame, which is no longer part of it, or with the last frame before a gap or the end
        of the series. Raises ConfigError if low_threshold is above threshold.
        """
        low = EventMachine(self.rules, threshold, low_threshold).low_threshold
        times, is_above = self.times_s, self.scores > threshold
        above, not_above = np.flatnonzero(is_above), np.flatnonzero(~is_above)
        falls = not_above if low == threshold else np.flatnonzero(~(self.scores > low))
        quiet_until_s, frame = -math.inf, 0
        while (start := self._next(above, frame)) < len(times):
            if times[start] < quiet_until_s:
                frame = int(np.searchsorted(times, quiet_until_s))
                continue
            stop = min(self._next(not_above, start), self._next(self._after_gaps, start + 1))
            opened = start + int(np.searchsorted(times[start:stop] - times[start], self.rules.min_duration_s))
            if opened >= stop:
                frame = stop
                continue
            end, stop, frame = self._follow(opened, above, falls)
            quiet_until_s = times[end] + self.rules.cool_down_s
            yield start, opened, end, stop

    def _follow(self, frame: int, above: np.ndarray, falls: np.ndarray) -> tuple[int, int, int]:
        """Where an open event ends, the first frame after it, and the next frame above the threshold."""
        while True:
            low, gap = self._next(falls, frame + 1), self._next(self._after_gaps, frame + 1)
            stop = min(low, gap)
            end = low if low < gap else stop - 1
            frame = self._next(above, stop)
            if frame == len(self.times_s) or self.times_s[frame] - self.times_s[end] > self.rules.merge_gap_s:
                return end, stop, frame

    def _next(self, frames: np.ndarray, start: int) -> int:
        """The first of `frames` from `start` on; T if there is none."""
        position = int(np.searchsorted(frames, start))
        return int(frames[position]) if position < len(frames) else len(self.times_s)


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
