"""The one rule for the time of a video: whether it has a clock, where it breaks, and how its seconds are counted.

Timestamps that exist and rise count. A missing one, and one that only repeats the one before, lies between its
neighbors in time. Where time goes back (a *restart*) or jumps (a *jump*: a spacing above `GAP` times the spacing that
nine tenths of the last ones do not exceed) a new *segment* begins. A frame is shown until the next one of its segment
begins, the last one of a segment for the usual spacing. Seconds of footage are the sum of what was shown: neither the
time that a jump skips nor what `--every` passes over changes them.
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

GAP = 5  # times the usual spacing: a longer one is a jump
_SPACINGS = 25  # last ones, of which nine tenths are not above the usual spacing
_KNOWN = 3  # spacings before a jump is judged by them

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """When each of the T frames of a video is shown, in seconds on one axis that rises; make it with `of`.

    A jump stays on the axis as the time it skips; a restart goes on where the segment before it ends, so that times
    are positions in the video as a player shows it.
    """

    times_s: Seconds  # (T,) when each frame begins; NaN without a clock
    ends_s: Seconds  # (T,) when it ends
    starts: NDArray[np.int64]  # (S,) first frame of each segment, ascending
    restarts: frozenset[int]  # those of `starts` before which nobody knows how much time has passed
    interpolated: int  # frames whose timestamps were missing or did not rise

    @classmethod
    def of(
        cls,
        times_s: ArrayLike | Sequence[float | None],
        *,
        fps: float | None = None,
        restarts: Collection[int] = (),
        name: str = "video",
    ) -> Self:
        """The clock that the timestamps (T,) of a video's frames make, None or NaN where there is none.

        fps: frames per second where timestamps do not tell: those of all frames, or how long a single frame lasts.
        Without it, a video has a clock only if two timestamps differ. restarts: frames with which the clock starts
        anew though the timestamps given continue, as those of a reader do. Raises DataError for an infinite
        timestamp or another shape, UsageError for an fps not above 0.
        """
        given = np.array(times_s, dtype=np.float64)
        if given.ndim != 1 or np.isinf(given).any():
            raise DataError(f"{name}: times of shape {given.shape}: expected (T,) finite seconds, one for each frame")
        if fps is not None and not 0 < fps < math.inf:
            raise UsageError(f"{name}: {fps:g} frames per second: expected a number above 0")
        rising = _rising(given)
        if not (np.diff(given[rising]) > 0).any():
            if fps is None or not given.size:
                return cls._without(len(given))
            first = given[rising[0]] - rising[0] / fps if len(rising) else 0.0
            given, rising = first + np.arange(len(given)) / fps, np.arange(len(given))
        back = rising[1:][np.diff(given[rising]) < 0].tolist()
        anew = sorted({*back, *(frame for frame in restarts if 0 < frame < len(given))})
        segments = list(pairwise([0, *anew, len(given)]))
        times = np.concatenate([_filled(given, rising, start, stop) for start, stop in segments])
        starts = sorted({0, *anew, *(jump for start, stop in segments for jump in _jumps(times, start, stop))})
        ends = _ends(times, starts, 1 / fps if fps is not None else _spacing(given, rising))
        later = [0.0]
        for frame in anew:  # goes on where the segment before it ends
            later.append(later[-1] + ends[frame - 1] - times[frame])
        offsets = np.repeat(later, [stop - start for start, stop in segments])
        interpolated = len(given) - len(rising)
        return cls(times + offsets, ends + offsets, np.array(starts, np.int64), frozenset(anew), interpolated)

    @classmethod
    def _without(cls, frames: int) -> Self:
        none = np.full(frames, np.nan)
        return cls(none, none, np.zeros(min(frames, 1), np.int64), frozenset(), 0)

    @property
    def has_clock(self) -> bool:
        """Whether anything can be said in seconds."""
        return bool(self.times_s.size) and not np.isnan(self.times_s[0])

    @property
    def durations_s(self) -> Seconds:
        """Seconds (T,) for which each frame is shown."""
        return np.asarray(self.ends_s - self.times_s)

    @property
    def seconds(self) -> float | None:
        """Seconds of footage: what all frames are shown for; None without a clock."""
        return float(self.durations_s.sum()) if self.has_clock else None

    @property
    def edges_s(self) -> Seconds:
        """Where frames begin, and where the last one ends, (T + 1,): the axis to draw a video on."""
        return np.append(self.times_s, self.ends_s[-1:])

    @property
    def shown_s(self) -> Seconds:
        """Seconds (T,) of footage before each frame: its time without what jumps skip."""
        skipped = np.zeros(len(self.times_s))
        if self.has_clock:
            later = self.starts[1:]
            skipped[later] = self.times_s[later] - self.ends_s[later - 1]
            skipped[0] = self.times_s[0]
        return np.asarray(self.times_s - np.cumsum(skipped))

    def gap_s(self, frame: int, later: int) -> float:
        """Seconds from the end of a frame to the start of a later one; infinite across a restart."""
        if any(frame < restart <= later for restart in self.restarts):
            return math.inf
        return float(self.times_s[later] - self.ends_s[frame])

    def runs(self, flags: np.ndarray, hole_s: float = 0.0) -> list[tuple[int, int]]:
        """Runs of true in flags (T,), as (start, stop) with start <= i < stop.

        A run ends at a restart, and at a jump that skips more than `hole_s` seconds.
        """
        cuts = [int(start) for start in self.starts[1:] if self.gap_s(int(start) - 1, int(start)) > hole_s]
        return [
            (first + start, first + stop)
            for first, last in pairwise([0, *cuts, len(flags)])
            for start, stop in runs(flags[first:last])
        ]

    def held(self, scores: np.ndarray) -> np.ndarray:
        """Scores (T,) of which each stands until the next one of its segment, as those of thinned frames do."""
        here = np.where(np.isnan(scores), -1, np.arange(len(scores)))
        latest = np.maximum.accumulate(here) if len(here) else here
        segment = np.repeat(self.starts, np.diff(np.append(self.starts, len(scores))))
        return np.where(latest >= segment, scores[latest], np.nan)


class Jumps:
    """Tells jumps from the spacings of a video's frames as they come."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_SPACINGS)

    def take(self, spacing_s: float) -> bool:
        """Whether the next spacing is a jump; one that is not above 0 is none and is forgotten."""
        jump = len(self._last) >= _KNOWN and spacing_s > GAP * _usual(self._last)
        if spacing_s > 0:
            self._last.append(spacing_s)
        return jump


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Unbroken runs of true in flags (T,), as (start, stop) with start <= i < stop.

    >>> runs(np.array([0, 1, 1, 0, 1], bool))
    [(1, 3), (4, 5)]
    """
    turns = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in turns.reshape(-1, 2)]


def _usual(spacings: Collection[float]) -> float:
    """A spacing that few exceed, so that frames which come in bursts are no jumps; one long jump among them is none."""
    return sorted(spacings)[9 * (len(spacings) - 1) // 10]


def _rising(given: Seconds) -> NDArray[np.intp]:
    """Frames with a timestamp that does not repeat the one before; of none that rises, none but the first."""
    known = np.flatnonzero(~np.isnan(given))
    return known[np.append(True, np.diff(given[known]) != 0)] if known.size else known


def _spacing(given: Seconds, frames: NDArray[np.intp]) -> float:
    """The median spacing of frames with these timestamps; 0 of a single one."""
    return float(np.median(np.abs(np.diff(given[frames]) / np.diff(frames)))) if len(frames) > 1 else 0.0


def _filled(given: Seconds, rising: NDArray[np.intp], start: int, stop: int) -> Seconds:
    """Times of the frames from `start` to `stop`, between which the clock does not start anew."""
    own = rising[(rising >= start) & (rising < stop)]
    step = _spacing(given, own if len(own) > 1 else rising)
    frames = np.arange(start, stop)
    if not own.size:
        return np.asarray((frames - start) * step)
    beyond = np.minimum(frames - own[0], 0) + np.maximum(frames - own[-1], 0)
    return np.asarray(np.interp(frames, own, given[own]) + step * beyond)


def _jumps(times: Seconds, start: int, stop: int) -> list[int]:
    """Frames from `start` to `stop` that come after a jump, as `Jumps` tells."""
    spacings = np.diff(times[start:stop])
    found = []
    for place in np.flatnonzero(spacings > GAP * spacings.min(initial=np.inf)):  # no other can be one
        last = spacings[max(0, place - _SPACINGS) : place]
        if len(last) >= _KNOWN and spacings[place] > GAP * _usual(last.tolist()):
            found.append(start + int(place) + 1)
    return found


def _ends(times: Seconds, starts: Sequence[int], single_s: float) -> Seconds:
    """When frames (T,) end; single_s: how long one lasts where no segment has two."""
    bounds = list(pairwise([*starts, len(times)]))
    usual = [float(np.median(np.diff(times[start:stop]))) if stop - start > 1 else None for start, stop in bounds]
    known = [spacing for spacing in usual if spacing is not None]
    fallback = float(np.median(known)) if known else single_s
    ends = np.append(times[1:], np.nan)
    for (_, stop), spacing in zip(bounds, usual, strict=True):
        ends[stop - 1] = times[stop - 1] + (fallback if spacing is None else spacing)
    return ends
