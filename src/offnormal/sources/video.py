"""Videos as a user names them: files of any container that FFmpeg knows, and folders of frames."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from offnormal.errors import ImageError, VideoError
from offnormal.metrics.clock import Jumps
from offnormal.sources.container import Upright, announced_s
from offnormal.sources.cursor import PROBED, Cursor, Picture, Timeline, survey
from offnormal.sources.image import SUFFIXES, as_rgb, image_size, open_image, significant_bits
from offnormal.sources.paths import as_written, images_in
from offnormal.types import Frame

log = logging.getLogger(__name__)
_ROUNDING_S = 1e-6  # times are sums of fractions: 0.1 * 50 counts as 5
_LOOKED_AT = 16  # pictures spread over the folder, enough to tell 12-bit cameras from 16-bit ones


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

    def _check_clock(self) -> float:
        if self.info.fps is None:
            raise VideoError(f"{self.path}: this video has no clock; give the rate of its frames (fps)")
        return self.info.fps


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


class VideoFile(VideoReader):
    """Frames of a video file, upright, by presentation time; memory does not grow with its length.

    Each iterator decodes in its caller's thread with a container of its own, released when the iterator ends or is
    closed. The first access out of order reads through the file once, without decoding, to learn which picture is
    shown when; files that do not tell are decoded from their start. Pictures whose size changes are scaled to that
    of the first, with a warning. Times that are missing follow from the rate. Raises VideoError naming a file that is
    missing, empty, no video, without a video stream, or without one picture that can be decoded.

    fps: the rate of a file without a clock of its own, as bare streams are; None leaves its times None.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.path, self.warnings, self.restarts, self._fps = path, [], [], _checked(path, fps)
        self._surveyed: tuple[Timeline | None] | None = None
        self._times: list[float | None] | None = None
        self._cursor: Cursor | None = None
        with Cursor(path, _quietly, fps=fps) as cursor:
            first = cursor.read()
            if first is None:
                codec = cursor.stream.codec_context.name
                raise VideoError(f"{path}: not one frame can be decoded ({codec}); copy the file again or convert it")
            self._first = first.frame
            rate, seconds = cursor.rate, announced_s(cursor.container, cursor.stream)
            estimate = None if seconds is None or rate is None else round(seconds * rate)
            self.info = VideoInfo(
                frames=cursor.stream.frames or estimate,
                exact=cursor.stream.frames > 0,
                fps=None if rate is None else float(rate),
                size=Upright(first.frame).size,
                duration_s=seconds,
            )

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        self._check_start(start)
        return self._in_order(start, stop)

    def _in_order(self, start: int, stop: int | None) -> Iterator[Frame]:
        if stop is not None and stop <= start:
            return
        show = Upright(self._first)
        with Cursor(self.path, self._warn, self._timeline() if start > PROBED else None, self._fps) as cursor:
            cursor.move(start)
            while (picture := cursor.read()) is not None and (stop is None or picture.index < stop):
                self._note(picture)
                yield self._shown(picture, show)
                if picture.index + 1 == stop:
                    return

    def frame(self, index: int) -> Frame:
        """See `VideoReader.frame`."""
        self._check_start(index)
        if self._cursor is None:
            self._cursor = Cursor(self.path, _quietly, self._timeline(), self._fps)  # an error tells of a lost frame
        self._cursor.move(index)
        picture = self._cursor.read()
        if picture is None or picture.index != index:
            found = "the video ends before it" if picture is None else "it could not be decoded"
            raise VideoError(f"{self.path}: frame {index} was asked for, but {found}; frames are counted from 0")
        return self._shown(picture, Upright(self._first))

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; decodes only from the key picture before each frame where that saves work."""
        self._check_clock()
        return self._thinned(every_s, Thinning(every_s))

    def _thinned(self, every_s: float, keep: Thinning) -> Iterator[Frame]:
        show, known = Upright(self._first), self._timeline()
        with Cursor(self.path, self._warn, known, self._fps) as cursor:
            if known is None:
                times: list[float | None] = []
                while (picture := cursor.read()) is not None:
                    self._note(picture)
                    _append(times, picture)
                    if picture.restarts:
                        keep = Thinning(every_s)
                    if picture.time_s is not None and keep(picture.time_s):
                        yield self._shown(picture, show)
                self._times = times
                return
            given = -1
            for index in range(len(known.pts)):
                if index > given and keep(known.time_s(index)):
                    cursor.move(index)
                    if (picture := cursor.read()) is None:
                        return
                    given = picture.index  # a later one where `index` is lost
                    yield self._shown(picture, show)

    def times(self) -> list[float | None]:
        """See `VideoReader.times`; decodes a file whose packets do not tell, unless `thinned` has done so."""
        if self._times is None:
            self._times, known = [], self._timeline()
            if known is not None:
                self._times += [known.time_s(index) for index in range(len(known.pts))]
                return self._times
            with Cursor(self.path, _quietly, fps=self._fps) as cursor:
                while (picture := cursor.read()) is not None:
                    self._note(picture)
                    _append(self._times, picture)
        return self._times

    def _note(self, picture: Picture) -> None:
        if picture.restarts and picture.index not in self.restarts:
            self.restarts.append(picture.index)

    def close(self) -> None:
        """See `VideoReader.close`."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _timeline(self) -> Timeline | None:
        if self._surveyed is None:
            self._surveyed = (survey(self.path, self._warn),)
        return self._surveyed[0]

    def _shown(self, picture: Picture, show: Upright) -> Frame:
        if not show.fits(picture.frame):
            height, width = show.stored
            self._warn(
                f"resized: the stored size changes from {width} x {height} to {picture.frame.width} x "
                f"{picture.frame.height}; such frames are scaled to the first size"
            )
        return Frame(picture.index, picture.time_s, show.image(picture.frame), restarts=picture.restarts)


def _append(times: list[float | None], picture: Picture) -> None:
    """Add the time of a picture, after None for each that was lost before it."""
    times += [None] * (picture.index - len(times))
    times.append(picture.time_s)


def _quietly(_: str) -> None:
    """What reading in order will warn of need not be said now."""


class FrameFolder(VideoReader):
    """Pictures of one size as frames: the position in natural order, never the number in a name, is the index.

    fps: rate of the frames, their only clock; None leaves every time None. bits: significant bits of 16-bit
    pictures; None takes those that the folder uses. Raises VideoError for a folder without pictures, and, naming
    the file, for a picture that cannot be read or has another size than the first.
    """

    def __init__(self, path: Path, *, fps: float | None = None, bits: int | None = None) -> None:
        fps = _checked(path, fps)
        self.path, self.warnings, self.restarts = path, [], []
        self._files = images_in(path, recursive=False)
        if not self._files:
            raise VideoError(
                f"{path}: a folder without pictures; expected a video file or a folder of frames "
                f"({', '.join(sorted(SUFFIXES)[:6])}, ...)"
            )
        try:
            size = image_size(self._files[0])
            self.bits = bits if bits is not None else _bits(self._files)
        except ImageError as error:
            raise VideoError(str(error)) from None
        count = len(self._files)
        self.info = VideoInfo(frames=count, exact=True, fps=fps, size=size, duration_s=count / fps if fps else None)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        self._check_start(start)
        return map(self._read, range(len(self._files))[start:stop])

    def frame(self, index: int) -> Frame:
        """See `VideoReader.frame`."""
        self._check_start(index)
        if index >= len(self._files):
            raise VideoError(f"{self.path}: frame {index} was asked for; there are {len(self._files)}, from 0")
        return self._read(index)

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; reads only the pictures that it gives."""
        keep, fps = Thinning(every_s), self._check_clock()
        return (self._read(index) for index in range(len(self._files)) if keep(index / fps))

    def times(self) -> list[float | None]:
        """See `VideoReader.times`."""
        return [self._time_s(index) for index in range(len(self._files))]

    def close(self) -> None:
        """Nothing is kept open between frames."""

    def _read(self, index: int) -> Frame:
        path = self._files[index]
        try:
            picture = open_image(path)
        except ImageError as error:
            raise VideoError(str(error)) from None
        try:
            image = np.asarray(as_rgb(picture, bits=self.bits))
        except ImageError as error:
            raise VideoError(f"{path}: {error}") from None
        if image.shape[:2] != self.info.size:
            (height, width), (wanted_height, wanted_width) = image.shape[:2], self.info.size
            raise VideoError(
                f"{path}: {width} x {height} pixels, but {self._files[0].name} has {wanted_width} x {wanted_height}; "
                "the frames of one video have one size: move pictures that do not belong to it elsewhere"
            )
        return Frame(index, self._time_s(index), image)

    def _time_s(self, index: int) -> float | None:
        return index / self.info.fps if self.info.fps else None


def _checked(path: Path, fps: float | None) -> float | None:
    if fps is not None and not 0 < fps < math.inf:
        raise VideoError(f"{path}: a rate of {fps:g} frames/s was given; expected a number above 0")
    return fps


def _bits(files: list[Path]) -> int:
    if significant_bits(files[0]) is None:
        return 16
    return max(significant_bits(path) or 16 for path in files[:: math.ceil(len(files) / _LOOKED_AT)])


def open_video(path: str | Path, *, fps: float | None = None, bits: int | None = None) -> VideoReader:
    """A reader of a video file, or of a folder with pictures as its frames.

    fps: rate of the frames of a folder or a bare stream, which have no clock of their own; any other file keeps its
    times. bits: significant bits of a folder's 16-bit pictures; None takes those that it uses, which may differ from
    folder to folder. Raises VideoError naming what is missing or cannot be read.
    """
    place = as_written(path)
    return FrameFolder(place, fps=fps, bits=bits) if place.is_dir() else VideoFile(place, fps=fps)
