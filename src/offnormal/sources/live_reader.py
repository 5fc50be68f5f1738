"""The thread that reads one connection to a source, and the bounded place where it hands its frames over."""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import numpy as np
from pydantic import Field

from offnormal.backoff import delay_s
from offnormal.config.model import VerbConfig
from offnormal.errors import VideoError
from offnormal.sources.live_stream import LiveClock, Shot, Ticks, Transport, stream_shots
from offnormal.sources.paths import Address
from offnormal.sources.privacy import paint
from offnormal.sources.video import VideoFile
from offnormal.sources.watched_folder import WatchedFolder, Watching
from offnormal.types import Frame, Mask

_Item = TypeVar("_Item")
Seconds = Annotated[float, Field(gt=0)]
_LONGEST_S = 120.0  # that the program's end waits for a read that hangs; FFmpeg's deadlines are shorter


class Patience(VerbConfig):
    """How long a source is waited for, in seconds."""

    open_s: Seconds = 10.0
    """From connecting to the first frame."""
    stall_s: Seconds = 5.0
    """Between two frames."""
    retry_s: Seconds = 0.5
    """Before the first attempt to reconnect; doubled after each one that failed."""
    cap_s: Seconds = 30.0
    """At most, between two attempts."""
    settled_s: Annotated[float, Field(ge=0)] = 10.0
    """Online for so long: the next trouble is a new one."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of a waiting time that chance takes off, so that cameras do not return at once."""

    def delay_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row (from 1); chance: uniform in 0-1."""
        return delay_s(failures, first_s=self.retry_s, cap_s=self.cap_s, jitter=self.jitter, chance=chance)


EVER_PATIENT = Patience(open_s=math.inf, stall_s=math.inf)  # with a source that gives frames when it has some


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """How a source is read."""

    fps: float | None = None  # frames a second that are wanted; None: all
    mask: Mask | None = None  # painted before anything else sees a frame
    realtime: bool = False  # a video file as if it were live: frames that come too late are dropped
    transport: Transport = "tcp"  # of RTSP
    device: dict[str, str] = field(default_factory=dict)  # FFmpeg's options of a local camera: video_size, framerate
    watching: Watching = field(default_factory=Watching)  # of a folder
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes."""

    error: Exception | None  # None: the end of what there was


class Handover(Generic[_Item]):
    """Holds up to `room` items.

    stale_s: the oldest item gives way to a new one when there is no room or it has waited for so many seconds, and is
    counted; so a burst is kept, and whoever is too slow is never far behind. None: `put` waits for room.
    """

    def __init__(self, room: int, *, stale_s: float | None = None) -> None:
        self.closed = threading.Event()
        self.dropped = 0
        self._room, self._stale_s = room, stale_s
        self._items: deque[tuple[float, _Item]] = deque()
        self._ended: Ended | None = None
        self._changed = threading.Condition()

    def put(self, item: _Item) -> bool:
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

    def get(self, timeout_s: float | None) -> _Item | Ended | None:
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


class LiveReader(threading.Thread):
    """Puts the frames of one connection into a hand-over of its own, and at the end how it ended.

    first: index of the first frame. origin_s: the moment that is time 0; None: when the first frame comes.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        options: CameraOptions,
        frames: Handover[Frame],
        *,
        folder: WatchedFolder | None,
        first: int,
        origin_s: float | None,
    ) -> None:
        # a daemon: a read that hangs must not keep the program from ending
        super().__init__(name=f"read {name}", daemon=True)
        self.frames = frames
        self.origin_s = origin_s
        self.decoded = 0
        self._address, self._options, self._folder = address, options, folder
        self._index = first
        self._ticks = None if options.fps is None else Ticks(options.fps)

    def start(self) -> None:
        """Begin to read."""
        atexit.register(self._outlive)
        super().start()

    def run(self) -> None:
        """Read until the end, an error, or until nobody wants any more frames."""
        error: Exception | None = None
        try:
            with closing(self._made()) as made:  # here, since this thread has the stream open
                for frame in made:
                    if not self.frames.put(frame):
                        break
        except Exception as found:  # noqa: BLE001 - told to whoever takes the frames
            error = found
        self.frames.end(error)
        atexit.unregister(self._outlive)

    def _outlive(self) -> None:
        """Let the interpreter end after this thread: FFmpeg asks Python for the time, also while it hangs."""
        self.frames.close()
        self.join(_LONGEST_S)

    def _made(self) -> Generator[Frame, None, None]:
        if self._address.kind == "file":
            return self._recorded()
        return self._live()

    def _live(self) -> Generator[Frame, None, None]:
        clock: LiveClock | None = None
        shots = self._shots()
        for shot in shots:
            arrived_s, utc_s = time.monotonic(), time.time()
            self.decoded += 1
            self.origin_s = arrived_s if self.origin_s is None else self.origin_s
            clock = clock or LiveClock(self.origin_s)
            time_s = self._wanted(clock(shot.stamp_s, arrived_s))
            if time_s is not None:
                yield self._frame(time_s, shot.image(), arrived_s, utc_s, shot.path)
            if self.frames.closed.is_set():
                return

    def _recorded(self) -> Generator[Frame, None, None]:
        start_s, expected, restarts = time.monotonic(), 0, False
        with VideoFile(self._address.path) as video:
            if video.info.fps is None:
                raise VideoError(
                    f"{video.path}: has no clock, which events need; put it into a container with its rate: "
                    f"ffmpeg -framerate RATE -i {video.path.name} -c copy {video.path.stem}.mp4"
                )
            for frame in video.frames():
                self.decoded += 1
                self._index += frame.index > expected  # what was lost to damage leaves a number out
                expected = frame.index + 1
                found_s = frame.time_s or 0.0
                if self._options.realtime:
                    self.frames.closed.wait(max(0.0, start_s + found_s - time.monotonic()))
                restarts |= frame.restarts
                time_s = self._wanted(found_s)
                if time_s is not None:
                    utc_s = time.time() if self._options.realtime else None
                    wanted = self._frame(time_s, frame.image, time.monotonic(), utc_s, None)
                    yield replace(wanted, restarts=restarts)
                    restarts = False

    def _shots(self) -> Iterator[Shot]:
        if self._folder is not None:
            return self._folder.shots(self.frames.closed)
        patience = self._options.patience
        return stream_shots(
            self._address,
            open_s=patience.open_s,
            read_s=patience.stall_s,
            transport=self._options.transport,
            device=self._options.device,
        )

    def _wanted(self, time_s: float) -> float | None:
        """The time by which a frame is to be known; None: it is not wanted."""
        if self._ticks is None or self._options.fps is None:
            return time_s
        tick = self._ticks(time_s)
        return None if tick is None else tick / self._options.fps

    def _frame(
        self, time_s: float, image: np.ndarray, arrived_s: float, utc_s: float | None, path: Path | None
    ) -> Frame:
        index, self._index = self._index, self._index + 1
        return Frame(index, time_s, paint(image, self._options.mask), arrived_s, utc_s, path)
