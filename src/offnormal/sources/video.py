"""Video readers: files of any container that FFmpeg supports, and folders of frames."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from offnormal.errors import ImageError, VideoError
from offnormal.metrics.clock import Jumps
from offnormal.sources.container import FrameConverter, header_duration_s
from offnormal.sources.cursor import PROBED_FRAMES, Cursor, DecodedFrame, Timeline, read_timeline
from offnormal.sources.deep import Depth, explain_depth, join_depths
from offnormal.sources.image import SUFFIXES, deep_colors, image_depth, image_size, open_image, to_rgb
from offnormal.sources.pages import pages_in
from offnormal.sources.paths import images_in, to_local_path
from offnormal.types import MAX_IMAGE_PIXELS, Frame, InputSpec

log = logging.getLogger(__name__)
_ROUNDING_S = 1e-6  # times are sums of fractions: 0.1 * 50 must equal 5
_PROBED_FILES = 16  # files spread over the folder: enough to distinguish 12-bit from 16-bit cameras


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video that are known before it is read."""

    frames: int | None  # None: unknown
    exact: bool  # the container states the number of frames; otherwise it is duration times rate
    fps: float | None  # mean rate; None without timestamps and rate
    size: tuple[int, int]  # (H, W) of the upright frames
    duration_s: float | None


class VideoReader(ABC):
    """Reads frames of one video in order or by index; a context manager.

    While frames are read, `restarts` collects the index of each frame at which the clock of the video goes back (the
    frames' times continue), and `warnings` collects problems that do not stop the reading: each starts with the path
    and a name (`truncated`, `damaged`, `resized`) and is also logged.
    Iterators of one reader are independent; `frame` and `close` must be called from one thread.
    """

    path: Path
    info: VideoInfo
    warnings: list[str]
    restarts: list[int]
    notes: Sequence[str] = ()  # how a folder of frames differs in depth from the training images

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Yield frames `start` to `stop` (exclusive; None: the end) in order; undecodable frames are skipped.

        Raises VideoError for a negative start and for an unreadable video.
        """

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Return one frame, equal to that of reading in order; VideoError if there is no frame with this index."""

    @abstractmethod
    def thinned(self, every_s: float) -> Iterator[Frame]:
        """Yield the first frame of each interval of `every_s` seconds (above 0), with its true index.

        The first frame after a jump or a restart of the clock is yielded, too.

        Raises VideoError for a non-positive interval and for a video without a clock.
        """

    @abstractmethod
    def times(self) -> list[float | None]:
        """Return the time of every frame, including those that `thinned` skips; None: lost, or no clock."""

    @abstractmethod
    def close(self) -> None:
        """Close what `frame` opened; a later read opens it again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _warn(self, problem: str) -> None:
        message = f"{self.path}: {problem}"
        if message not in self.warnings:
            self.warnings.append(message)
            log.warning("%s", message)

    def _check_start(self, start: int) -> None:
        if start < 0:
            raise VideoError(f"{self.path}: no frame {start}; expected an index of 0 or more")

    def _check_clock(self) -> float:
        if self.info.fps is None:
            raise VideoError(f"{self.path}: has no clock; set its frame rate (fps)")
        return self.info.fps


class Thinner:
    """Selects the first time of each interval, and the first after a jump of the clock, from ascending times.

    >>> is_first = Thinner(0.5)
    >>> [time_s for time_s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 2.9) if is_first(time_s)]
    [0.0, 0.6, 1.0, 2.9]
    """

    def __init__(self, every_s: float) -> None:
        if not 0 < every_s < math.inf:
            raise VideoError(f"one frame every {every_s:g} s; expected an interval above 0 s")
        self._every_s = every_s
        self._interval = -1
        self._last_s = math.inf
        self._jumps = Jumps()

    def __call__(self, time_s: float) -> bool:
        """Whether this time is the first of its interval or of a segment (`metrics.clock`)."""
        interval = math.floor((time_s + _ROUNDING_S) / self._every_s)
        jumped = self._jumps.take(time_s - self._last_s)
        self._last_s = time_s
        first = jumped or interval > self._interval
        self._interval = max(interval, self._interval)
        return first


class VideoFile(VideoReader):
    """Frames of a video file, upright, by presentation time; memory does not grow with its length.

    Each iterator decodes in its caller's thread and opens its own container, which it closes when it ends. The first
    access out of order reads all packets once, without decoding, to build the timeline; a file without usable times is
    decoded from its start. Frames of another size are scaled to that of the first, with a warning. Missing times
    follow from the rate. Raises VideoError with the path when the file is missing, empty, not a video, has no video
    stream, or no decodable frame.

    fps: rate of a file without timestamps, such as a stream without a container; None leaves its times None.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.path, self.warnings, self.restarts, self._fps = path, [], [], _check_fps(path, fps)
        self._cached_timeline: tuple[Timeline | None] | None = None
        self._times: list[float | None] | None = None
        self._cursor: Cursor | None = None
        with Cursor(path, _ignore_warning, fps=fps) as cursor:
            first = cursor.read()
            if first is None:
                codec = cursor.stream.codec_context.name
                raise VideoError(f"{path}: no frame can be decoded ({codec}); copy the file again or convert it")
            self._first = first.frame
            rate, seconds = cursor.rate, header_duration_s(cursor.container, cursor.stream)
            estimate = None if seconds is None or rate is None else round(seconds * rate)
            self.info = VideoInfo(
                frames=cursor.stream.frames or estimate,
                exact=cursor.stream.frames > 0,
                fps=None if rate is None else float(rate),
                size=FrameConverter(first.frame).size,
                duration_s=seconds,
            )

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        self._check_start(start)
        return self._decode_range(start, stop)

    def _decode_range(self, start: int, stop: int | None) -> Iterator[Frame]:
        if stop is not None and stop <= start:
            return
        converter = FrameConverter(self._first)
        with Cursor(self.path, self._warn, self._timeline() if start > PROBED_FRAMES else None, self._fps) as cursor:
            cursor.move(start)
            while (decoded := cursor.read()) is not None and (stop is None or decoded.index < stop):
                self._record_restart(decoded)
                yield self._to_frame(decoded, converter)
                if decoded.index + 1 == stop:
                    return

    def frame(self, index: int) -> Frame:
        """See `VideoReader.frame`."""
        self._check_start(index)
        if self._cursor is None:
            self._cursor = Cursor(self.path, _ignore_warning, self._timeline(), self._fps)
        self._cursor.move(index)
        decoded = self._cursor.read()
        if decoded is None or decoded.index != index:
            reason = "the video ends before it" if decoded is None else "it cannot be decoded"
            raise VideoError(f"{self.path}: no frame {index} (counted from 0): {reason}; choose another frame")
        return self._to_frame(decoded, FrameConverter(self._first))

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; starts decoding at the keyframe before each frame if that saves work."""
        self._check_clock()
        return self._thinned(every_s, Thinner(every_s))

    def _thinned(self, every_s: float, is_first: Thinner) -> Iterator[Frame]:
        converter, timeline = FrameConverter(self._first), self._timeline()
        with Cursor(self.path, self._warn, timeline, self._fps) as cursor:
            if timeline is None:
                times: list[float | None] = []
                while (decoded := cursor.read()) is not None:
                    self._record_restart(decoded)
                    _append_time(times, decoded)
                    if decoded.restarts:
                        is_first = Thinner(every_s)
                    if decoded.time_s is not None and is_first(decoded.time_s):
                        yield self._to_frame(decoded, converter)
                self._times = times
                return
            last_index = -1
            for index in range(len(timeline.pts)):
                if index > last_index and is_first(timeline.time_s(index)):
                    cursor.move(index)
                    if (decoded := cursor.read()) is None:
                        return
                    last_index = decoded.index  # a later one if `index` is lost
                    yield self._to_frame(decoded, converter)

    def times(self) -> list[float | None]:
        """See `VideoReader.times`; decodes a file without usable timestamps unless `thinned` has done so."""
        if self._times is None:
            self._times, timeline = [], self._timeline()
            if timeline is not None:
                self._times += [timeline.time_s(index) for index in range(len(timeline.pts))]
                return self._times
            with Cursor(self.path, self._warn, fps=self._fps) as cursor:
                while (decoded := cursor.read()) is not None:
                    self._record_restart(decoded)
                    _append_time(self._times, decoded)
        return self._times

    def _record_restart(self, decoded: DecodedFrame) -> None:
        if decoded.restarts and decoded.index not in self.restarts:
            self.restarts.append(decoded.index)

    def close(self) -> None:
        """See `VideoReader.close`."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _timeline(self) -> Timeline | None:
        if self._cached_timeline is None:
            self._cached_timeline = (read_timeline(self.path, self._warn),)
        return self._cached_timeline[0]

    def _to_frame(self, decoded: DecodedFrame, converter: FrameConverter) -> Frame:
        if not converter.matches_size(decoded.frame):
            height, width = converter.stored_size
            self._warn(
                f"resized: the stored size changes from {height}x{width} to {decoded.frame.height}x"
                f"{decoded.frame.width}; such frames are scaled to the first size"
            )
        return Frame(decoded.index, decoded.time_s, converter.image(decoded.frame), restarts=decoded.restarts)


def _append_time(times: list[float | None], decoded: DecodedFrame) -> None:
    """Append the time of a frame, after a None for each lost frame before it."""
    times += [None] * (decoded.index - len(times))
    times.append(decoded.time_s)


def _ignore_warning(_: str) -> None:
    """Ignore a warning that reading in order repeats."""


class FrameFolder(VideoReader):
    """Images of one size as frames, indexed by their position in natural order, not by the number in the name.

    fps: frame rate; None leaves every time None. spec: input of the detector with the levels of deep images; None, or
    without levels: detected from the folder. Raises VideoError for a folder without images, and, with the path, for an
    image that is unreadable or differs in size from the first.
    """

    def __init__(self, path: Path, *, fps: float | None = None, spec: InputSpec | None = None) -> None:
        fps = _check_fps(path, fps)
        self.path, self.warnings, self.restarts = path, [], []
        self._files = [page for file in images_in(path, recursive=False) for page in pages_in(file)[0]]
        if not self._files:
            raise VideoError(
                f"{path}: a folder without images; expected a video file or a folder of frames "
                f"({', '.join(sorted(SUFFIXES)[:6])}, ...)"
            )
        try:
            self._max_pixels = MAX_IMAGE_PIXELS if spec is None else spec.max_pixels
            size = image_size(self._files[0], self._max_pixels)
            depth = _common_depth(self._files)
            learned = None if spec is None else spec.levels
            self.levels = learned or (None if depth is None else depth.levels)
            note = None if spec is None else explain_depth(depth, learned)
            self.notes = [] if note is None else [note]
        except ImageError as error:
            raise VideoError(str(error)) from None
        count = len(self._files)
        self.info = VideoInfo(frames=count, exact=True, fps=fps, size=size, duration_s=count / fps if fps else None)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        self._check_start(start)
        return map(self._read_frame, range(len(self._files))[start:stop])

    def frame(self, index: int) -> Frame:
        """See `VideoReader.frame`."""
        self._check_start(index)
        if index >= len(self._files):
            raise VideoError(f"{self.path}: no frame {index}; expected 0 to {len(self._files) - 1}")
        return self._read_frame(index)

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; reads only the frames that it yields."""
        is_first, fps = Thinner(every_s), self._check_clock()
        return (self._read_frame(index) for index in range(len(self._files)) if is_first(index / fps))

    def times(self) -> list[float | None]:
        """See `VideoReader.times`."""
        return [self._time_s(index) for index in range(len(self._files))]

    def close(self) -> None:
        """Do nothing: no file stays open between frames."""

    def _read_frame(self, index: int) -> Frame:
        path = self._files[index]
        try:
            decoded = open_image(path, max_pixels=self._max_pixels)
        except ImageError as error:
            raise VideoError(str(error)) from None
        try:
            image, deep = np.asarray(to_rgb(decoded, levels=self.levels)), deep_colors(decoded, self.levels)
        except ImageError as error:
            raise VideoError(f"{path}: {error}") from None
        if image.shape[:2] != self.info.size:
            (height, width), (first_height, first_width) = image.shape[:2], self.info.size
            raise VideoError(
                f"{path}: {height}x{width} pixels, but {self._files[0].name} has {first_height}x{first_width}; "
                "expected frames of one size: move other images to another folder"
            )
        return Frame(index, self._time_s(index), image, deep=deep)

    def _time_s(self, index: int) -> float | None:
        return index / self.info.fps if self.info.fps else None


def _check_fps(path: Path, fps: float | None) -> float | None:
    if fps is not None and not 0 < fps < math.inf:
        raise VideoError(f"{path}: a rate of {fps:g} frames/s; expected a number above 0")
    return fps


def _common_depth(files: list[Path]) -> Depth | None:
    if image_depth(files[0]) is None:
        return None
    return join_depths(image_depth(path) for path in files[:: math.ceil(len(files) / _PROBED_FILES)])


def open_video(path: str | Path, *, fps: float | None = None, spec: InputSpec | None = None) -> VideoReader:
    """Open a video file, or a folder of images as its frames.

    fps: frame rate of a folder or a stream without a container, which have no timestamps; ignored for other files.
    spec: input of the detector, see FrameFolder. Raises VideoError for a missing or unreadable path.
    """
    video_path = to_local_path(path)
    return FrameFolder(video_path, fps=fps, spec=spec) if video_path.is_dir() else VideoFile(video_path, fps=fps)
