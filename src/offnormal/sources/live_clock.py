"""The times of a live stream, and which of its frames stand for the ticks of a clock."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from offnormal.errors import ConfigError

_LOST_S = 5.0  # further from their arrival the stream's own times say nothing
_AHEAD_S = 0.25  # by which a frame may be said to be of a time after its arrival: the network is uneven
_CATCH_UP = 0.04  # the same as the drift where it is more than that
_DRIFT = 0.001  # seconds a second by which its clock may be led back to ours
_SPACINGS = 25  # last ones, whose median is the usual spacing
_ROUNDING = 1e-6  # of a tick: times are sums of fractions


class LiveClock:
    """A stream's own times, tied to their arrival; arrival where it has none, or where its times make no sense.

    Its own times keep the distances between frames that the network disturbs; they are led back to the arrival slowly,
    since no two clocks agree for months, and tied anew where they jump or run backwards. Frames that are said to be of
    a time well after their arrival, as those are that follow a burst of old ones, are led back within minutes. Times
    never run backwards. origin_s: the moment on the monotonic clock that is time 0.
    """

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s
        self._offset_s: float | None = None
        self._stamp_s = 0.0
        self._last_s = -math.inf

    def __call__(self, stamp_s: float | None, arrived_s: float) -> float:
        """Seconds since the origin of a frame with such a stamp that arrived at this moment."""
        arrival = arrived_s - self._origin_s
        self._last_s = max(self._last_s, arrival if stamp_s is None else self._by_stamp(stamp_s, arrival))
        return self._last_s

    def _by_stamp(self, stamp_s: float, arrival_s: float) -> float:
        if self._offset_s is not None:
            passed, error = stamp_s - self._stamp_s, arrival_s - (stamp_s + self._offset_s)
            if passed > 0 and abs(error) <= _LOST_S:
                drift = _CATCH_UP if error < -_AHEAD_S else _DRIFT
                self._offset_s += math.copysign(min(abs(error), drift * passed), error)
            else:
                self._offset_s = None
        if self._offset_s is None:
            self._offset_s = arrival_s - stamp_s
        self._stamp_s = stamp_s
        return stamp_s + self._offset_s


class Ticks:
    """Which frames of a source stand for the ticks of a clock of `fps` ticks a second: of each tick the nearest one.

    A frame that another one cannot come nearer than, by the usual spacing of the source, is taken at once; so a
    source as fast as the clock loses none to the unevenness of its times. A slower one leaves ticks out.

    >>> ticks = Ticks(5)
    >>> [ticks(number / 10) for number in range(6)]
    [0, None, 1, None, 2, None]
    """

    def __init__(self, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise ConfigError(f"{fps:g} frames a second were asked for; expected a number above 0")
        self._fps = fps
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self._last_s: float | None = None
        self._tick = -1

    def __call__(self, time_s: float) -> int | None:
        """The tick that the frame of this time stands for; None: of none."""
        if self._last_s is not None and time_s > self._last_s:
            self._spacings.append(time_s - self._last_s)
        self._last_s = time_s
        ahead = min(median(self._spacings) * self._fps, 1) / 2 if self._spacings else 0.0
        tick = math.floor(time_s * self._fps + ahead + _ROUNDING)
        if tick <= self._tick:
            return None
        self._tick = tick
        return tick
