"""The time of day from a clock that is never set back."""

from __future__ import annotations

import threading
import time

_CATCH_UP = 0.05  # seconds a second by which the time of day is led back where it was set back


class WallClock:
    """Moments of the monotonic clock as seconds since 1970 that always rise, also where the system's clock is set.

    Set forward it is followed at once, as on a machine that learns the time after it has started; set back it is
    approached by a twentieth of a second a second. May be used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s = time.monotonic()
        self._offset_s = time.time() - self._at_s

    def of(self, monotonic_s: float) -> float:
        """Seconds since 1970 of a moment."""
        with self._lock:
            now_s = time.monotonic()
            wanted_s = time.time() - now_s
            self._offset_s = max(wanted_s, self._offset_s - _CATCH_UP * (now_s - self._at_s))
            self._at_s = now_s
            return monotonic_s + self._offset_s

    def now(self) -> float:
        """Seconds since 1970."""
        return self.of(time.monotonic())
