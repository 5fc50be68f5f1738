"""Normal footage of one camera, and the incidents that it raises at any threshold.

A score opens an event when the lowest score of the last `min_duration_s` is above the threshold. The highest such value
of a minute is its *level*: the threshold at and above which the minute opens no event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.calibration.incident_rate import BLOCK_S, dispersion
from offnormal.errors import CalibrationError
from offnormal.events.alarms import VideoScan
from offnormal.events.incidents import alert_times
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores

SHORT_S = 300.0  # files of a recorder that are shorter are joined
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """What footage raises at one threshold."""

    threshold: float
    low_threshold: float
    events: int
    incidents: int
    dispersion: float  # variance over mean of the incidents of three hours
    minutes: int  # that open an event
    in_alarm: float  # share of the footage, 0-1


class Footage:
    """Normal footage of one camera; CalibrationError for a video without a clock."""

    def __init__(self, videos: Sequence[FrameScores], rules: EventRules) -> None:
        levels = [video_opening_levels(video, rules) for video in videos]
        minutes = [np.floor(video.clock.footage_s / _MINUTE_S).astype(np.int64) for video in videos]
        seconds = [video.clock.durations_s[_in_force(video)].sum() for video in videos]
        self._videos, self.rules = videos, rules
        self._scans = [VideoScan(video, rules) for video in videos]
        self._starts_s = np.concatenate([[0.0], np.cumsum(seconds)])
        self._minutes = minutes
        self.hours = float(self._starts_s[-1]) / 3600
        self.levels = np.concatenate([np.zeros(0), *map(_highest, levels, minutes)])

    @property
    def ladder(self) -> list[float]:
        """The distinct levels of the minutes, highest first."""
        return [float(level) for level in np.unique(self.levels)[::-1]]

    def count(self, threshold: float, low_threshold: float) -> Rung:
        """Count events and incidents at one threshold."""
        events, in_alarm_s, alerts = 0, 0.0, [np.zeros(0)]
        for video, scan, start_s in zip(self._videos, self._scans, self._starts_s, strict=False):
            alarms = scan.alarms(threshold, low_threshold)
            times_s = alert_times([(alarm.start_s, alarm.end_s) for alarm in alarms], self.rules)
            clock = video.clock
            frames = np.searchsorted(clock.times_s, times_s, side="right") - 1
            alerts.append(start_s + clock.footage_s[frames])
            events += len(alarms)
            in_alarm_s += sum(float(clock.durations_s[alarm.start : alarm.stop].sum()) for alarm in alarms)
        positions_s = np.concatenate(alerts)
        blocks = np.histogram(positions_s, np.arange(0, 3600 * self.hours + 1, BLOCK_S))[0]
        minutes = int((self.levels > threshold).sum())
        in_alarm = in_alarm_s / (3600 * self.hours)
        return Rung(threshold, low_threshold, events, len(positions_s), dispersion(blocks), minutes, in_alarm)

    def minute_maxima(self, peaks: Sequence[np.ndarray]) -> np.ndarray:
        """The highest of the peaks (T,) of each video in each of its minutes with a value, ascending."""
        return np.sort(np.concatenate([np.zeros(0), *map(_highest, peaks, self._minutes)]))


def _in_force(video: FrameScores) -> np.ndarray:
    """Frames (T,) with a score, or lost between frames whose scores hold."""
    frames = ~np.isnan(video.held_scores)
    frames[list(video.lost)] = True
    return frames


def _highest(values: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """The highest of the values (T,) of each minute (T,), ascending; without minutes that have none."""
    highest = np.fmax.reduceat(values, np.unique(minutes, return_index=True)[1]) if len(values) else values
    return np.asarray(highest[~np.isnan(highest)])


def opening_levels(times_s: np.ndarray, scores: np.ndarray, rules: EventRules) -> np.ndarray:
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


def video_opening_levels(video: FrameScores, rules: EventRules) -> np.ndarray:
    """`opening_levels` (T,) of a video; lost frames interrupt no run."""
    if not video.clock.has_clock:
        raise CalibrationError(
            f"{video.name}: no frame times, but event rates need them; set the frame rate with --fps"
        )
    levels = np.full(len(video.scores), np.nan)
    decoded = np.delete(np.arange(len(video.scores)), list(video.lost))
    levels[decoded] = opening_levels(video.clock.times_s[decoded], video.scores[decoded], rules)
    return levels
