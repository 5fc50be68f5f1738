"""The thread that reads one connection to a source, and the bounded queue that hands over its frames."""

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
from offnormal.sources.live_stream import LiveClock, LiveImage, TickSelector, Transport, stream_images
from offnormal.sources.paths import Address
from offnormal.sources.privacy import paint_frame
from offnormal.sources.video import VideoFile
from offnormal.sources.watched_folder import FolderWatchOptions, WatchedFolder
from offnormal.types import Frame, Mask

_Item = TypeVar("_Item")
Seconds = Annotated[float, Field(gt=0)]
_EXIT_TIMEOUT_S = 120.0  # wait for a hung read at program exit; FFmpeg's own timeouts are shorter


class Patience(VerbConfig):
    """Timeouts and reconnection of a source, in seconds."""

    open_s: Seconds = 10.0
    """Timeout from connecting to the first frame."""
    stall_s: Seconds = 5.0
    """Timeout between two frames."""
    retry_s: Seconds = 0.5
    """Delay before the first reconnection attempt; doubled after each failure."""
    cap_s: Seconds = 30.0
    """Maximum delay between two attempts."""
    settled_s: Annotated[float, Field(ge=0)] = 10.0
    """Time online after which the next failure counts as the first."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Maximum random share taken off a delay, so that cameras do not reconnect all at once."""

    def delay_s(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after `failures` consecutive failures (>= 1); chance: uniform in 0-1."""
        return delay_s(failures, first_s=self.retry_s, cap_s=self.cap_s, jitter=self.jitter, chance=chance)


NO_TIMEOUTS = Patience(open_s=math.inf, stall_s=math.inf)  # for files and folders


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """Options for reading a source."""

    fps: float | None = None  # frames per second to return; None: all
    mask: Mask | None = None  # privacy mask, painted first
    realtime: bool = False  # play a video file in real time and drop late frames
    transport: Transport = "tcp"  # RTSP transport
    device: dict[str, str] = field(default_factory=dict)  # FFmpeg's options of a local camera: video_size, framerate
    folder_watch: FolderWatchOptions = field(default_factory=FolderWatchOptions)  # options of a watched folder
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The end of a source."""

    error: Exception | None  # None: a regular end


class HandoverQueue(Generic[_Item]):
    """A queue of up to `capacity` items.

    stale_s: a new item drops the oldest one if the queue is full or the oldest one has waited this many seconds; so
    bursts are buffered, and a slow consumer is never far behind. None: `put` waits for space.
    """

    def __init__(self, capacity: int, *, stale_s: float | None = None) -> None:
        self.closed = threading.Event()
        self.dropped = 0
        self._capacity, self._stale_s = capacity, stale_s
        self._items: deque[tuple[float, _Item]] = deque()
        self._end: EndOfStream | None = None
        self._condition = threading.Condition()

    def put(self, item: _Item) -> bool:
        """Put an item; False: the queue is closed."""
        with self._condition:
            if self._stale_s is None:
                self._condition.wait_for(lambda: self.closed.is_set() or len(self._items) < self._capacity)
            if self.closed.is_set():
                return False
            now_s = time.monotonic()
            while self._items and (len(self._items) >= self._capacity or self._is_stale(now_s)):
                self._items.popleft()
                self.dropped += 1
            self._items.append((now_s, item))
            self._condition.notify_all()
            return True

    def end(self, error: Exception | None = None) -> None:
        """Mark the end, with its error."""
        with self._condition:
            self._end = EndOfStream(error)
            self._condition.notify_all()

    def get(self, timeout_s: float | None) -> _Item | EndOfStream | None:
        """Return the oldest item, or the end after the last one; None: timeout, or closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._end or self.closed.is_set(), timeout_s)
            if self.closed.is_set():
                return None
            if self._items:
                _, item = self._items.popleft()
                self._condition.notify_all()
                return item
            return self._end

    def close(self) -> None:
        """Close the queue: both sides return immediately, and its items are discarded."""
        with self._condition:
            self.closed.set()
            self._items.clear()
            self._condition.notify_all()

    def _is_stale(self, now_s: float) -> bool:
        return self._stale_s is not None and now_s - self._items[0][0] > self._stale_s


class LiveReader(threading.Thread):
    """Puts the frames of one connection, and then its end, into a queue.

    first_index: index of the first frame. origin_s: time 0; None: the arrival of the first frame.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        options: CameraOptions,
        frames: HandoverQueue[Frame],
        *,
        folder: WatchedFolder | None,
        first_index: int,
        origin_s: float | None,
    ) -> None:
        # a daemon: a hung read must not block program exit
        super().__init__(name=f"read {name}", daemon=True)
        self.frames = frames
        self.origin_s = origin_s
        self.decoded = 0
        self._address, self._options, self._folder = address, options, folder
        self._index = first_index
        self._ticks = None if options.fps is None else TickSelector(options.fps)

    def start(self) -> None:
        """Start reading."""
        atexit.register(self._join_at_exit)
        super().start()

    def run(self) -> None:
        """Read until the end, an error, or the queue is closed."""
        error: Exception | None = None
        try:
            with closing(self._open_frames()) as frame_iterator:  # close in this thread, which opened the stream
                for frame in frame_iterator:
                    if not self.frames.put(frame):
                        break
        except Exception as exception:  # noqa: BLE001 - passed to the consumer of the frames
            error = exception
        self.frames.end(error)
        atexit.unregister(self._join_at_exit)

    def _join_at_exit(self) -> None:
        """Keep the interpreter alive until this thread ends: a hung FFmpeg still calls into Python."""
        self.frames.close()
        self.join(_EXIT_TIMEOUT_S)

    def _open_frames(self) -> Generator[Frame, None, None]:
        if self._address.kind == "file":
            return self._read_file()
        return self._read_live()

    def _read_live(self) -> Generator[Frame, None, None]:
        clock: LiveClock | None = None
        images = self._open_live()
        for live_image in images:
            arrived_s, utc_s = time.monotonic(), time.time()
            self.decoded += 1
            self.origin_s = arrived_s if self.origin_s is None else self.origin_s
            clock = clock or LiveClock(self.origin_s)
            time_s = self._tick_time_s(clock(live_image.timestamp_s, arrived_s))
            if time_s is not None:
                frame = self._frame(time_s, live_image.image(), arrived_s, utc_s, live_image.path)
                yield paint_frame(replace(frame, deep=live_image.deep), self._options.mask)
            if self.frames.closed.is_set():
                return

    def _read_file(self) -> Generator[Frame, None, None]:
        start_s, next_index, restarts = time.monotonic(), 0, False
        with VideoFile(self._address.path) as video:
            if video.info.fps is None:
                raise VideoError(
                    f"{video.path}: has no clock, which events need; put it into a container with its rate: "
                    f"ffmpeg -framerate RATE -i {video.path.name} -c copy {video.path.stem}.mp4"
                )
            for frame in video.frames():
                self.decoded += 1
                self._index += frame.index > next_index  # damaged frames leave a gap in the index
                next_index = frame.index + 1
                file_time_s = frame.time_s or 0.0
                if self._options.realtime:
                    self.frames.closed.wait(max(0.0, start_s + file_time_s - time.monotonic()))
                restarts |= frame.restarts
                time_s = self._tick_time_s(file_time_s)
                if time_s is not None:
                    utc_s = time.time() if self._options.realtime else None
                    decoded_frame = self._frame(time_s, frame.image, time.monotonic(), utc_s, None)
                    yield paint_frame(replace(decoded_frame, restarts=restarts), self._options.mask)
                    restarts = False

    def _open_live(self) -> Iterator[LiveImage]:
        if self._folder is not None:
            return self._folder.images(self.frames.closed)
        patience = self._options.patience
        return stream_images(
            self._address,
            open_s=patience.open_s,
            read_s=patience.stall_s,
            transport=self._options.transport,
            device=self._options.device,
        )

    def _tick_time_s(self, time_s: float) -> float | None:
        """Return the time of the tick for which a frame is selected; None: drop the frame."""
        if self._ticks is None or self._options.fps is None:
            return time_s
        tick = self._ticks(time_s)
        return None if tick is None else tick / self._options.fps

    def _frame(
        self, time_s: float, image: np.ndarray, arrived_s: float, utc_s: float | None, path: Path | None
    ) -> Frame:
        index, self._index = self._index, self._index + 1
        return Frame(index, time_s, image, arrived_s, utc_s, path)
