"""Time of a video: whether it has a clock, where the clock restarts or jumps, and how seconds of footage are counted.

A missing or repeated timestamp is interpolated between its neighbors. A new *segment* starts where time goes back (a
*restart*) and where it jumps (a *jump*: a spacing above `GAP` times the 90th percentile of recent spacings). A frame
lasts until the next frame of its segment starts, the last frame of a segment for the median spacing. Seconds of
footage are the sum of frame durations: neither skipped time in a jump nor `--every` changes them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, UsageError

GAP = 5  # a spacing above this many times the 90th percentile is a jump
_SPACINGS = 25  # recent spacings in the percentile
_MIN_SPACINGS = 3  # with fewer spacings before it, no spacing is a jump

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """Start and end of each of the T frames of a video, in seconds on one rising axis; create with `from_times`.

    Time skipped by a jump stays on the axis. A segment after a restart continues at the end of the segment before it,
    so times are positions in a player.
    """

    times_s: Seconds  # (T,) start of each frame; NaN without a clock
    ends_s: Seconds  # (T,) end of each frame
    starts: NDArray[np.int64]  # (S,) first frame of each segment, ascending
    restarts: frozenset[int]  # those of `starts` before which an unknown time has passed
    interpolated: int  # number of missing or repeated timestamps

    @classmethod
    def from_times(
        cls,
        times_s: ArrayLike | Sequence[float | None],
        *,
        fps: float | None = None,
        restarts: Collection[int] = (),
        name: str = "video",
    ) -> Self:
        """Create the clock from the timestamps (T,) of a video's frames; None or NaN: missing.

        fps: frame rate to use where timestamps do not determine it. Without it, a video has a clock only if two
        timestamps differ. restarts: frames at which the clock restarts although the timestamps continue, as a reader
        reports them. Raises DataError for an infinite timestamp or another shape, UsageError for an fps not above 0.
        """
        stamps = np.array(times_s, dtype=np.float64)
        if stamps.ndim != 1 or np.isinf(stamps).any():
            raise DataError(f"{name}: times have shape {stamps.shape}; expected (T,), finite seconds of each frame")
        if fps is not None and not 0 < fps < math.inf:
            raise UsageError(f"{name}: {fps:g} frames per second; expected a number above 0")
        rising = _rising(stamps)
        if not (np.diff(stamps[rising]) > 0).any():
            if fps is None or not stamps.size:
                return cls._without_clock(len(stamps))
            first = stamps[rising[0]] - rising[0] / fps if len(rising) else 0.0
            stamps, rising = first + np.arange(len(stamps)) / fps, np.arange(len(stamps))
        back = rising[1:][np.diff(stamps[rising]) < 0].tolist()
        restarted = sorted({*back, *(frame for frame in restarts if 0 < frame < len(stamps))})
        segments = list(pairwise([0, *restarted, len(stamps)]))
        times = np.concatenate([_interpolate(stamps, rising, start, stop) for start, stop in segments])
        starts = sorted({0, *restarted, *(jump for start, stop in segments for jump in _jumps(times, start, stop))})
        ends = _ends(times, starts, 1 / fps if fps is not None else _spacing(stamps, rising))
        shifts = [0.0]
        for frame in restarted:  # continue at the end of the segment before
            shifts.append(shifts[-1] + ends[frame - 1] - times[frame])
        offsets = np.repeat(shifts, [stop - start for start, stop in segments])
        interpolated = len(stamps) - len(rising)
        return cls(times + offsets, ends + offsets, np.array(starts, np.int64), frozenset(restarted), interpolated)

    @classmethod
    def _without_clock(cls, frames: int) -> Self:
        missing = np.full(frames, np.nan)
        return cls(missing, missing, np.zeros(min(frames, 1), np.int64), frozenset(), 0)

    @property
    def has_clock(self) -> bool:
        """Whether times in seconds exist."""
        return bool(self.times_s.size) and not np.isnan(self.times_s[0])

    @property
    def durations_s(self) -> Seconds:
        """Duration (T,) of each frame."""
        return np.asarray(self.ends_s - self.times_s)

    @property
    def seconds(self) -> float | None:
        """Seconds of footage: the sum of frame durations; None without a clock."""
        return float(self.durations_s.sum()) if self.has_clock else None

    @property
    def edges_s(self) -> Seconds:
        """Starts of the frames and end of the last one, (T + 1,), as the axis of a plot."""
        return np.append(self.times_s, self.ends_s[-1:])

    @property
    def footage_s(self) -> Seconds:
        """Seconds (T,) of footage before each frame: its time minus time skipped by jumps."""
        skipped = np.zeros(len(self.times_s))
        if self.has_clock:
            starts = self.starts[1:]
            skipped[starts] = self.times_s[starts] - self.ends_s[starts - 1]
            skipped[0] = self.times_s[0]
        return np.asarray(self.times_s - np.cumsum(skipped))

    def gap_s(self, frame: int, later: int) -> float:
        """Seconds from the end of a frame to the start of a later one; infinite across a restart."""
        if any(frame < restart <= later for restart in self.restarts):
            return math.inf
        return float(self.times_s[later] - self.ends_s[frame])

    def runs(self, flags: np.ndarray, hole_s: float = 0.0) -> list[tuple[int, int]]:
        """Find runs of true in flags (T,), as (start, stop) with start <= i < stop.

        A run ends at a restart and at a jump that skips more than `hole_s` seconds.
        """
        cuts = [int(start) for start in self.starts[1:] if self.gap_s(int(start) - 1, int(start)) > hole_s]
        return [
            (first + start, first + stop)
            for first, last in pairwise([0, *cuts, len(flags)])
            for start, stop in runs(flags[first:last])
        ]

    def hold_scores(self, scores: np.ndarray) -> np.ndarray:
        """Fill unscored frames (T,) with the last score of their segment, for thinned frames."""
        rows = np.where(np.isnan(scores), -1, np.arange(len(scores)))
        latest = np.maximum.accumulate(rows) if len(rows) else rows
        segment = np.repeat(self.starts, np.diff(np.append(self.starts, len(scores))))
        return np.where(latest >= segment, scores[latest], np.nan)


class Jumps:
    """Detects jumps in a stream of frame spacings."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_SPACINGS)

    def take(self, spacing_s: float) -> bool:
        """Whether the next spacing is a jump; a spacing not above 0 is ignored."""
        jump = len(self._last) >= _MIN_SPACINGS and spacing_s > GAP * _high_spacing(self._last)
        if spacing_s > 0:
            self._last.append(spacing_s)
        return jump


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Find runs of true in flags (T,), as (start, stop) with start <= i < stop.

    >>> runs(np.array([0, 1, 1, 0, 1], bool))
    [(1, 3), (4, 5)]
    """
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in changes.reshape(-1, 2)]


def _high_spacing(spacings: Collection[float]) -> float:
    """90th percentile: bursts of frames are no jumps, and one jump among the spacings does not raise it."""
    return sorted(spacings)[9 * (len(spacings) - 1) // 10]


def _rising(stamps: Seconds) -> NDArray[np.intp]:
    """Frames with a timestamp that differs from the one before."""
    stamped = np.flatnonzero(~np.isnan(stamps))
    return stamped[np.append(True, np.diff(stamps[stamped]) != 0)] if stamped.size else stamped


def _spacing(stamps: Seconds, frames: NDArray[np.intp]) -> float:
    """Median spacing of frames with these timestamps; 0 for a single frame."""
    return float(np.median(np.abs(np.diff(stamps[frames]) / np.diff(frames)))) if len(frames) > 1 else 0.0


def _interpolate(stamps: Seconds, rising: NDArray[np.intp], start: int, stop: int) -> Seconds:
    """Times of the frames from `start` to `stop`, which have no restart between them."""
    inside = rising[(rising >= start) & (rising < stop)]
    step = _spacing(stamps, inside if len(inside) > 1 else rising)
    frames = np.arange(start, stop)
    if not inside.size:
        return np.asarray((frames - start) * step)
    outside = np.minimum(frames - inside[0], 0) + np.maximum(frames - inside[-1], 0)
    return np.asarray(np.interp(frames, inside, stamps[inside]) + step * outside)


def _jumps(times: Seconds, start: int, stop: int) -> list[int]:
    """Frames from `start` to `stop` that follow a jump, as in `Jumps`."""
    spacings = np.diff(times[start:stop])
    jumps = []
    for index in np.flatnonzero(spacings > GAP * spacings.min(initial=np.inf)):  # faster: a smaller one is no jump
        last = spacings[max(0, index - _SPACINGS) : index]
        if len(last) >= _MIN_SPACINGS and spacings[index] > GAP * _high_spacing(last.tolist()):
            jumps.append(start + int(index) + 1)
    return jumps


def _ends(times: Seconds, starts: Sequence[int], single_s: float) -> Seconds:
    """Ends (T,) of the frames; single_s: duration of a frame if no segment has two."""
    bounds = list(pairwise([*starts, len(times)]))
    spacings = [float(np.median(np.diff(times[start:stop]))) if stop - start > 1 else None for start, stop in bounds]
    medians = [spacing for spacing in spacings if spacing is not None]
    fallback = float(np.median(medians)) if medians else single_s
    ends = np.append(times[1:], np.nan)
    for (_, stop), spacing in zip(bounds, spacings, strict=True):
        ends[stop - 1] = times[stop - 1] + (fallback if spacing is None else spacing)
    return ends
