"""The thread that reads one connection to a source, from its first picture to its end."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from offnormal.sources.address import Address
from offnormal.sources.connection import Patience
from offnormal.sources.handover import Handover
from offnormal.sources.live_clock import LiveClock, Ticks
from offnormal.sources.live_stream import Shot, Transport, stream_shots
from offnormal.sources.privacy import paint
from offnormal.sources.video_file import VideoFile
from offnormal.sources.watched_folder import WatchedFolder, Watching
from offnormal.types import Frame, Mask

_LONGEST_S = 120.0  # that the program's end waits for a read that hangs; FFmpeg's deadlines are shorter


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
