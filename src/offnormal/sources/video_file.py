"""A video file, of any container and codec that FFmpeg knows, read with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from offnormal.errors import VideoError
from offnormal.sources.container import announced_s, mean_rate
from offnormal.sources.cursor import Cursor, Picture, survey
from offnormal.sources.pixels import Upright
from offnormal.sources.reader import Thinning, VideoInfo, VideoReader
from offnormal.sources.timeline import PROBED, Timeline
from offnormal.types import Frame


class VideoFile(VideoReader):
    """Frames of a video file, upright, by presentation time; memory does not grow with its length.

    Each iterator decodes in its caller's thread with a container of its own, released when the iterator ends or is
    closed. The first access out of order reads through the file once, without decoding, to learn which picture is
    shown when; files that do not tell are decoded from their start. Pictures whose size changes are scaled to that
    of the first, with a warning. Times that are missing follow from the rate. Raises VideoError naming a file that is
    missing, empty, no video, without a video stream, or without one picture that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.warnings, self.restarts = path, [], []
        self._surveyed: tuple[Timeline | None] | None = None
        self._times: list[float | None] | None = None
        self._cursor: Cursor | None = None
        with Cursor(path, _quietly) as cursor:
            first = cursor.read()
            if first is None:
                codec = cursor.stream.codec_context.name
                raise VideoError(f"{path}: not one frame can be decoded ({codec}); copy the file again or convert it")
            self._first = first.frame
            rate, seconds = mean_rate(cursor.stream), announced_s(cursor.container, cursor.stream)
            estimate = None if seconds is None else round(seconds * rate)
            self.info = VideoInfo(
                frames=cursor.stream.frames or estimate,
                exact=cursor.stream.frames > 0,
                fps=float(rate),
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
        with Cursor(self.path, self._warn, self._timeline() if start > PROBED else None) as cursor:
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
            self._cursor = Cursor(self.path, _quietly, self._timeline())  # an error tells of a lost frame
        self._cursor.move(index)
        picture = self._cursor.read()
        if picture is None or picture.index != index:
            found = "the video ends before it" if picture is None else "it could not be decoded"
            raise VideoError(f"{self.path}: frame {index} was asked for, but {found}; frames are counted from 0")
        return self._shown(picture, Upright(self._first))

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; decodes only from the key picture before each frame where that saves work."""
        return self._thinned(every_s, Thinning(every_s))

    def _thinned(self, every_s: float, keep: Thinning) -> Iterator[Frame]:
        show, known = Upright(self._first), self._timeline()
        with Cursor(self.path, self._warn, known) as cursor:
            if known is None:
                times: list[float | None] = []
                while (picture := cursor.read()) is not None:
                    self._note(picture)
                    _append(times, picture)
                    if picture.restarts:
                        keep = Thinning(every_s)
                    if keep(picture.time_s):
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
            with Cursor(self.path, _quietly) as cursor:
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
