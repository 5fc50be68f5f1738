"""What every reader of a video gives, whether its frames lie in one file or in a folder of pictures."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from offnormal.errors import VideoError
from offnormal.metrics.clock import Jumps
from offnormal.types import Frame

log = logging.getLogger(__name__)

_ROUNDING_S = 1e-6  # times are sums of fractions: 0.1 * 50 counts as 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a video says of itself before it is read."""

    frames: int | None  # None: unknown
    exact: bool  # whether the container states the number of frames; otherwise it is duration times rate
    fps: float | None  # mean rate; None for a folder of frames whose rate was not given
    size: tuple[int, int]  # (H, W) of the upright frames
    duration_s: float | None


class VideoReader(ABC):
    """Frames of one video in order, or any of them by index; a context manager.

    `restarts` fills while frames are read, with the index of each with which the clock of the video goes back; their
    times go on. `warnings` fills, too, with what is wrong with the video that does not keep the rest from being
    read: each begins with the path and a name (`truncated`, `damaged`, `resized`). The same is logged.
    Iterators of one reader are independent of each other; `frame` and `close` belong to one thread.
    """

    path: Path
    info: VideoInfo
    warnings: list[str]
    restarts: list[int]

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (exclusive; None: the end) in order; one that cannot be decoded leaves a gap.

        Raises VideoError for a negative start and for a video that cannot be read.
        """

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """One frame, equal to what reading in order gives; VideoError where there is none with this index."""

    @abstractmethod
    def thinned(self, every_s: float) -> Iterator[Frame]:
        """The first frame of each interval of `every_s` seconds (above 0) that has one, with its true index.

        So is the first one after a jump or a restart of the clock.

        Raises VideoError for an interval that is not positive and for a video without a clock.
        """

    @abstractmethod
    def times(self) -> list[float | None]:
        """The time of every frame, of those that `thinned` passes over, too; None: lost, or no clock."""

    @abstractmethod
    def close(self) -> None:
        """Release what `frame` keeps open; a later read opens it again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _warn(self, what: str) -> None:
        message = f"{self.path}: {what}"
        if message not in self.warnings:
            self.warnings.append(message)
            log.warning("%s", message)

    def _check_start(self, start: int) -> None:
        if start < 0:
            raise VideoError(f"{self.path}: frame {start} was asked for; frames are counted from 0")


class Thinning:
    """Says of times in ascending order which are the first of their interval, or come after a jump of the clock.

    >>> keep = Thinning(0.5)
    >>> [time_s for time_s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 2.9) if keep(time_s)]
    [0.0, 0.6, 1.0, 2.9]
    """

    def __init__(self, every_s: float) -> None:
        if not 0 < every_s < math.inf:
            raise VideoError(f"one frame every {every_s:g} s was asked for; expected a number of seconds above 0")
        self._every_s = every_s
        self._interval = -1
        self._last_s = math.inf
        self._jumps = Jumps()

    def __call__(self, time_s: float) -> bool:
        """Whether this time is the first of its interval, or of a segment as `metrics.clock` says."""
        interval = math.floor((time_s + _ROUNDING_S) / self._every_s)
        jumped = self._jumps.take(time_s - self._last_s)
        self._last_s = time_s
        first = jumped or interval > self._interval
        self._interval = max(interval, self._interval)
        return first
