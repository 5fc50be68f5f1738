"""From the thread that reads a source to the one that uses its frames: a bounded place, the newest frames win."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes."""

    error: Exception | None  # None: the end of what there was


class Handover(Generic[T]):
    """Holds up to `room` items.

    stale_s: the oldest item gives way to a new one when there is no room or it has waited for so many seconds, and is
    counted; so a burst is kept, and whoever is too slow is never far behind. None: `put` waits for room.
    """

    def __init__(self, room: int, *, stale_s: float | None = None) -> None:
        self.closed = threading.Event()
        self.dropped = 0
        self._room, self._stale_s = room, stale_s
        self._items: deque[tuple[float, T]] = deque()
        self._ended: Ended | None = None
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Hand an item over; False: nobody wants any more."""
        with self._changed:
            if self._stale_s is None:
                self._changed.wait_for(lambda: self.closed.is_set() or len(self._items) < self._room)
            if self.closed.is_set():
                return False
            now_s = time.monotonic()
            while self._items and (len(self._items) >= self._room or self._is_stale(now_s)):
                self._items.popleft()
                self.dropped += 1
            self._items.append((now_s, item))
            self._changed.notify_all()
            return True

    def end(self, error: Exception | None = None) -> None:
        """Say that nothing more comes, and why."""
        with self._changed:
            self._ended = Ended(error)
            self._changed.notify_all()

    def get(self, timeout_s: float | None) -> T | Ended | None:
        """The oldest item; after the last one how it ended; None: nothing in this time, or closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self.closed.is_set(), timeout_s)
            if self.closed.is_set():
                return None
            if self._items:
                _, item = self._items.popleft()
                self._changed.notify_all()
                return item
            return self._ended

    def close(self) -> None:
        """Want no more: both sides return at once, what is held is let go."""
        with self._changed:
            self.closed.set()
            self._items.clear()
            self._changed.notify_all()

    def _is_stale(self, now_s: float) -> bool:
        return self._stale_s is not None and now_s - self._items[0][0] > self._stale_s
