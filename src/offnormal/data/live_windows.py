"""Makes clips from the frames and gaps of live sources, and batches from the clips of many sources."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.data.batches import clip_pixels
from offnormal.data.clips import Clip, Windows
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.images import frame_pixels, stack
from offnormal.errors import ConfigError
from offnormal.types import Frame, Gap, InputSpec


class LiveWindows:
    """Makes the clips of one source; no clip spans a gap. Each frame is resized once, when it is pushed.

    Attribute `has_unreported_gap`: the last frame follows lost frames or a jump of the clock, without a Gap before it.
    every_s: see `Windows`. Raises ConfigError for uniform sampling, because a live source has no end.
    """

    def __init__(self, spec: InputSpec, *, every_s: float | None = None) -> None:
        if spec.sampling == "uniform":
            raise ConfigError(
                "the detector takes one clip spread over a whole video; expected a detector with sampling 'window' for "
                "a live source, which has no end"
            )
        self.spec = spec
        self.has_unreported_gap = False
        self._windows: Windows[ResizedFrame] = Windows(spec, every_s=every_s)
        self._has_reported_gap = False  # since the last frame

    @property
    def warnings(self) -> list[str]:
        """Warnings of `Windows`."""
        return self._windows.warnings

    def push(self, item: Frame | Gap) -> list[Clip[ResizedFrame]]:
        """Add the next frame or gap, and return the clip that it completes, if any."""
        if isinstance(item, Gap):
            self._windows.reset()
            self._has_reported_gap = True
            return []
        if item.restarts:
            self._windows.reset()
        clips = self._windows.push(ResizedFrame(item.index, item.time_s, frame_pixels(item, self.spec)))
        self.has_unreported_gap = (item.restarts or bool(self._windows.gaps)) and not self._has_reported_gap
        self._has_reported_gap = False
        self._windows.gaps.clear()  # otherwise it grows without limit
        return clips


@dataclass(frozen=True, slots=True, eq=False)
class ReadyItem:
    """A clip of a source that is ready to be scored, or a gap between two clips."""

    source: str
    item: Clip[ResizedFrame] | Gap
    since_s: float  # monotonic clock


class LiveBatches:
    """Collects clips of many sources, in order for each source, into batches of at most `batch_size` clips.

    A batch is complete when it is full, when each of the `sources` has a clip in it, or when its oldest clip has waited
    for `wait_s`. At most `capacity` clips of a source wait. With `drops`, a new clip replaces the oldest one, and clips
    older than `stale_s` are dropped; `dropped` counts both. Otherwise `put` waits. Gaps are never dropped. Thread-safe.
    """

    def __init__(
        self, *, batch_size: int, wait_s: float = 0.05, capacity: int = 16, stale_s: float = 1.0, sources: int = 1
    ) -> None:
        self.batch_size, self.wait_s, self.capacity, self.stale_s = batch_size, wait_s, capacity, stale_s
        self.sources = sources
        self.dropped: Counter[str] = Counter()
        self._ready: dict[str, deque[ReadyItem]] = {}
        self._changed = threading.Condition()
        self._closed = False

    def put(self, source: str, item: Clip[ResizedFrame] | Gap, *, drops: bool = True) -> bool:
        """Add a clip or gap of a source; False: closed."""
        with self._changed:
            waiting = self._ready.setdefault(source, deque())
            if not drops:
                self._changed.wait_for(lambda: self._closed or _count_clips(waiting) < self.capacity)
            if self._closed:
                return False
            now_s = time.monotonic()
            if drops and not isinstance(item, Gap):
                self._drop(source, waiting, now_s)
            waiting.append(ReadyItem(source, item, now_s))
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None, *, max_clips: int | None = None) -> list[ReadyItem]:
        """Return the next batch, with gaps before its clips and gaps that no clip follows; [] after `timeout_s`.

        max_clips: limit the clips in the batch below the batch size.
        """
        size = self.batch_size if max_clips is None else min(self.batch_size, max_clips)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._oldest() is not None, timeout_s)
            oldest = self._oldest()
            if oldest is not None and not self._closed:
                remaining_s = oldest + self.wait_s - time.monotonic()
                self._changed.wait_for(lambda: self._closed or self._is_full(size), max(0.0, remaining_s))
            batch = self._collect(size)
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """Wake all waiting threads; waiting clips can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop(self, source: str, waiting: deque[ReadyItem], now_s: float) -> None:
        clips = [ready for ready in waiting if not isinstance(ready.item, Gap)]
        for number, ready in enumerate(clips):
            if len(clips) - number >= self.capacity or now_s - ready.since_s > self.stale_s:
                waiting.remove(ready)
                self.dropped[source] += 1

    def _oldest(self) -> float | None:
        return min((waiting[0].since_s for waiting in self._ready.values() if waiting), default=None)

    def _is_full(self, size: int) -> bool:
        counts = [_count_clips(waiting) for waiting in self._ready.values()]
        return sum(counts) >= size or sum(count > 0 for count in counts) >= self.sources

    def _collect(self, size: int) -> list[ReadyItem]:
        """Take one clip of each source in turn, starting with the source that has waited longest, then repeat."""
        batch: list[ReadyItem] = []
        clip_count = 0
        while queues := [queue for queue in self._ready.values() if queue]:
            for queue in sorted(queues, key=lambda queue: queue[0].since_s):
                while queue and isinstance(queue[0].item, Gap):
                    batch.append(queue.popleft())
                if queue and clip_count < size:
                    batch.append(queue.popleft())
                    clip_count += 1
            if clip_count >= size:
                break
        return batch


def stack_clips(clips: Sequence[Clip[ResizedFrame]]) -> np.ndarray:
    """Stack clips as (N, C, H, W) or (N, C, T, H, W) float32 in 0-1, like a VideoLoader."""
    return stack([clip_pixels(clip) for clip in clips])


def _count_clips(waiting: deque[ReadyItem]) -> int:
    return sum(not isinstance(ready.item, Gap) for ready in waiting)
