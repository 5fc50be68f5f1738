"""Frames and gaps of a live source -> clips at input size, and ready clips of many sources -> batches."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from offnormal.data.batches import clip_pixels
from offnormal.data.clips import Clip, Windows
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.images import stack, to_pixels
from offnormal.errors import ConfigError
from offnormal.types import Frame, Gap, InputSpec


class LiveWindows:
    """Clips of one source as the input says; never across a gap. Each frame is resized once, when it is pushed.

    `torn` says of the last frame pushed whether it begins anew without a gap having been told: frames were lost, or
    its clock jumped. every_s: see `Windows`. Raises ConfigError for an input that is spread over a whole video, which
    a live source never is.
    """

    def __init__(self, spec: InputSpec, *, every_s: float | None = None) -> None:
        if spec.sampling == "uniform":
            raise ConfigError(
                "this detector takes one clip spread over a whole video, and a live source has no end: "
                "watch with one that takes windows"
            )
        self.spec = spec
        self.torn = False
        self._windows: Windows[ResizedFrame] = Windows(spec, every_s=every_s)
        self._told = False  # of a gap since the last frame

    @property
    def warnings(self) -> list[str]:
        """See `Windows`."""
        return self._windows.warnings

    def push(self, item: Frame | Gap) -> list[Clip[ResizedFrame]]:
        """Take the next frame or gap; the clip that it completes, if it does."""
        if isinstance(item, Gap):
            self._windows.reset()
            self._told = True
            return []
        if item.restarts:
            self._windows.reset()
        found = self._windows.push(
            ResizedFrame(item.index, item.time_s, to_pixels(Image.fromarray(item.image), self.spec))
        )
        self.torn = (item.restarts or bool(self._windows.gaps)) and not self._told
        self._told = False
        self._windows.gaps.clear()  # which a source that runs for months would make ever longer
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A clip of a source that waits to be scored, or a gap between two of them."""

    source: str
    item: Clip[ResizedFrame] | Gap
    since_s: float  # on the monotonic clock


class LiveBatches:
    """Collects what many sources have ready, in the order of each, into batches of at most `batch_size` clips.

    A batch is given when it is full, when each of the `sources` has a clip in it, or when its oldest clip has waited
    `wait_s`. Of a source at most `room` clips wait: with `drops` a new one takes the place of the oldest, also where
    that has waited for `stale_s`, which is counted in `dropped`; otherwise `put` waits. Gaps always go through. May be
    used by several threads.
    """

    def __init__(
        self, *, batch_size: int, wait_s: float = 0.05, room: int = 16, stale_s: float = 1.0, sources: int = 1
    ) -> None:
        self.batch_size, self.wait_s, self.room, self.stale_s = batch_size, wait_s, room, stale_s
        self.sources = sources
        self.dropped: Counter[str] = Counter()
        self._ready: dict[str, deque[Ready]] = {}
        self._changed = threading.Condition()
        self._closed = False

    def put(self, source: str, item: Clip[ResizedFrame] | Gap, *, drops: bool = True) -> bool:
        """Add what a source has ready; False: closed."""
        with self._changed:
            waiting = self._ready.setdefault(source, deque())
            if not drops:
                self._changed.wait_for(lambda: self._closed or _clips(waiting) < self.room)
            if self._closed:
                return False
            now_s = time.monotonic()
            if drops and not isinstance(item, Gap):
                self._drop(source, waiting, now_s)
            waiting.append(Ready(source, item, now_s))
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None, *, at_most: int | None = None) -> list[Ready]:
        """The next batch, with the gaps that lie before its clips or have nothing behind them; [] after the time.

        at_most: clips in it, where that is below the batch size.
        """
        size = self.batch_size if at_most is None else min(self.batch_size, at_most)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._oldest() is not None, timeout_s)
            oldest = self._oldest()
            if oldest is not None and not self._closed:
                left_s = oldest + self.wait_s - time.monotonic()
                self._changed.wait_for(lambda: self._closed or self._is_full(size), max(0.0, left_s))
            found = self._taken(size)
            self._changed.notify_all()
            return found

    def close(self) -> None:
        """Let everybody go; what still waits can be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop(self, source: str, waiting: deque[Ready], now_s: float) -> None:
        clips = [one for one in waiting if not isinstance(one.item, Gap)]
        for number, one in enumerate(clips):
            if len(clips) - number >= self.room or now_s - one.since_s > self.stale_s:
                waiting.remove(one)
                self.dropped[source] += 1

    def _oldest(self) -> float | None:
        return min((waiting[0].since_s for waiting in self._ready.values() if waiting), default=None)

    def _is_full(self, size: int) -> bool:
        counts = [_clips(waiting) for waiting in self._ready.values()]
        return sum(counts) >= size or sum(count > 0 for count in counts) >= self.sources

    def _taken(self, size: int) -> list[Ready]:
        """One clip of each source in turn, then the next of each, beginning with the source that waits longest."""
        found: list[Ready] = []
        clips = 0
        while waiting := [each for each in self._ready.values() if each]:
            for each in sorted(waiting, key=lambda one: one[0].since_s):
                while each and isinstance(each[0].item, Gap):
                    found.append(each.popleft())
                if each and clips < size:
                    found.append(each.popleft())
                    clips += 1
            if clips >= size:
                break
        return found


def live_pixels(clips: Sequence[Clip[ResizedFrame]]) -> np.ndarray:
    """Clips -> (N, C, H, W) or (N, C, T, H, W) float32 in 0-1, as a VideoLoader makes them."""
    return stack([clip_pixels(clip) for clip in clips])


def _clips(waiting: deque[Ready]) -> int:
    return sum(not isinstance(one.item, Gap) for one in waiting)
