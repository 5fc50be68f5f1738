"""Reads the clips of one video at input size: decodes, resizes, loads masks, and caches frames in one generator."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

import numpy as np

from offnormal.data.clips import Clip, ClipMaker, F, make_clip_maker
from offnormal.data.frame_cache import FrameCache, ResizedFrame, cache_key
from offnormal.data.frame_masks import FrameMasks, open_masks
from offnormal.data.images import frame_pixels
from offnormal.data.masks import MaskCheck, check_mask
from offnormal.errors import DataError, counted
from offnormal.sources.privacy import paint_frame
from offnormal.sources.video import VideoReader, open_video
from offnormal.types import Frame, InputSpec, Item

log = logging.getLogger(__name__)

_CheckedMask = tuple[np.ndarray | None, MaskCheck | None]


@dataclass(frozen=True, slots=True, eq=False)
class VideoSummary:
    """Facts about a video after its last clip."""

    video: Item
    frames: int  # T, number of frames up to the last one read, including lost ones
    times_s: np.ndarray  # (T,) float64; NaN: lost frame, or no clock
    fps: float | None  # from the container, or as set for a folder
    restarts: tuple[int, ...]  # frames at which the clock restarts; times_s continues
    is_thinned: bool  # True: every_s was set
    gaps: tuple[int, ...]  # index of the first frame after each gap
    warnings: tuple[str, ...]  # each starts with a name, such as `slow:`

    @property
    def lost(self) -> list[int]:
        """Indices of frames that could not be decoded; empty without a clock."""
        unknown = np.isnan(self.times_s)
        return [] if self.is_thinned or unknown.all() else np.flatnonzero(unknown).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How videos are read."""

    spec: InputSpec
    every_s: float | None = None  # seconds between two clips; None: use the hop
    masks: bool = False
    fps: float | None = None  # of folders of frames and raw streams
    cache: FrameCache | None = None
    pending: int = 2  # frames of a video that are resized concurrently
    on_frame: Callable[[Frame], None] | None = None  # called with every decoded frame, after the privacy mask
    logged_warnings: set[str] = field(default_factory=set)  # names of warnings that were logged

    def open(self, video: Item) -> VideoReader:
        """Open the reader of a video; VideoError if it cannot be read."""
        return open_video(video.path, fps=self.fps, spec=self.spec)

    def warn(self, video: Item, warning: str) -> None:
        """Log a warning, unless one with the same name was logged for another video."""
        name = warning.partition(":")[0]
        if name not in self.logged_warnings:
            self.logged_warnings.add(name)
            log.warning("video %s: %s; this warning is not repeated for other videos", video.name, warning)


def read_clips(
    video: Item, reading: ReadOptions, pool: Executor
) -> Generator[Clip[ResizedFrame] | VideoSummary, None, None]:
    """Yield the clips of one video in order, then its summary.

    pool: resizes frames. Every exception names the video in a note; VideoError if the video cannot be read, DataError
    if its masks do not match it.
    """
    source = video.masks if reading.masks else None
    try:
        with reading.open(video) as reader, open_masks(source) if source else contextlib.nullcontext() as masks:
            yield from _VideoPass(video, reader, masks, reading, pool).clips()
    except Exception as error:
        error.add_note(f"while reading video {video.name} ({video.path})")
        raise


@dataclass(slots=True)
class _VideoPass:
    """The state of reading one video from its first to its last frame."""

    video: Item
    reader: VideoReader
    masks: FrameMasks | None
    reading: ReadOptions
    pool: Executor
    times: dict[int, float | None] = field(default_factory=dict)  # of the frames read so far

    def clips(self) -> Generator[Clip[ResizedFrame] | VideoSummary, None, None]:
        """Yield the clips, then the summary."""
        spec, every_s = self.reading.spec, self.reading.every_s
        length = self.reader.info.frames if self.reader.info.exact else None
        if every_s is not None and spec.frames > 1:  # only the frames in the clips are resized
            frame_maker: ClipMaker[Frame] = make_clip_maker(spec, length=length, every_s=every_s)
            for clip in self._make_clips(frame_maker, self._observed(self.reader.frames())):
                frames = zip(clip.frames, self.pool.map(self._resize_with_mask, clip.frames), strict=True)
                resized = {frame.index: resized_frame for frame, resized_frame in frames}
                yield Clip(
                    tuple(resized[frame.index] for frame in clip.frames),
                    tuple(resized[frame.index] for frame in clip.targets),
                )
            yield self._summarize(frame_maker)
            return
        maker: ClipMaker[ResizedFrame] = make_clip_maker(spec, length=length, every_s=every_s)
        with contextlib.closing(self._frames()) as resized_frames:
            yield from self._make_clips(maker, resized_frames)
        if every_s is not None:  # the reader skipped frames
            self.times = dict(enumerate(self.reader.times())) | self.times
        yield self._summarize(maker)

    def _make_clips(self, maker: ClipMaker[F], frames: Iterator[F]) -> Iterator[Clip[F]]:
        for frame in frames:
            self.times[frame.index] = frame.time_s
            if frame.index in self.reader.restarts:
                maker.reset()
            yield from maker.push(frame)
        yield from maker.end()

    def _summarize(self, maker: ClipMaker[F]) -> VideoSummary:
        count, is_thinned = max(self.times, default=-1) + 1, self.reading.every_s is not None
        warnings = [
            *maker.warnings,
            *self.reader.notes,
            *_clock_warnings(self.reader.restarts),
            *_label_warnings(self.video, count, thinned=is_thinned),
        ]
        for warning in warnings:
            self.reading.warn(self.video, warning)
        return VideoSummary(
            video=self.video,
            frames=count,
            times_s=np.array([self.times.get(index) for index in range(count)], np.float64),
            fps=self.reader.info.fps,
            restarts=tuple(self.reader.restarts),
            is_thinned=is_thinned,
            gaps=tuple(maker.gaps),
            warnings=(*self.reader.warnings, *warnings),
        )

    def _frames(self) -> Generator[ResizedFrame, None, None]:
        """Yield frames at input size from the cache, or from the reader and store them in the cache."""
        reading, reader = self.reading, self.reader
        thinned = reading.every_s if reading.spec.frames == 1 else None
        decoded = reader.frames() if thinned is None else reader.thinned(thinned)
        if reading.cache is None:
            yield from self._prefetch_resized(decoded)
            return
        key = cache_key(self.video.path, reading.spec, every_s=thinned, fps=reading.fps)
        if (stored := reading.cache.read(key)) is not None:
            for frame in stored:
                mask, check = self._mask(frame.index, reader.info.size)
                yield replace(frame, mask=mask, check=check)
            return
        with contextlib.closing(reading.cache.record(key)) as recording:
            for frame in self._prefetch_resized(decoded):
                recording.add(frame)
                yield frame
            if not (reader.warnings or reader.restarts):  # a cached video would not report them
                recording.commit()

    def _prefetch_resized(self, frames: Iterator[Frame]) -> Generator[ResizedFrame, None, None]:
        pending: deque[Future[ResizedFrame]] = deque()
        try:
            for frame in self._observed(frames):
                mask = self._mask(frame.index, (frame.image.shape[0], frame.image.shape[1]))
                pending.append(self.pool.submit(self._resize, frame, mask))
                if len(pending) > self.reading.pending:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _observed(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames; pass each one, with its privacy mask painted, to `on_frame` first."""
        for frame in frames:
            if self.reading.on_frame is not None:
                self.reading.on_frame(paint_frame(frame, self.reading.spec.mask))
            yield frame

    def _resize_with_mask(self, frame: Frame) -> ResizedFrame:
        return self._resize(frame, self._mask(frame.index, (frame.image.shape[0], frame.image.shape[1])))

    def _resize(self, frame: Frame, mask: _CheckedMask) -> ResizedFrame:
        pixels = frame_pixels(frame, self.reading.spec)
        return ResizedFrame(frame.index, frame.time_s, pixels, *mask)

    def _mask(self, index: int, size: tuple[int, int]) -> _CheckedMask:
        """Return the mask (H, W) bool at input size, empty for a video without masks; None: masks not requested."""
        if not self.reading.masks:
            return None, None
        if self.masks is None:
            return np.zeros(self.reading.spec.size, bool), None
        name = self.video.name
        if index >= len(self.masks):
            raise DataError(
                f"video {name}: no mask for frame {index} ({counted(len(self.masks), 'mask')}); expected one per frame"
            )
        frame_name = f"video {name}, frame {index}"
        return check_mask(self.masks[index], self.reading.spec, frame_name, image_size=size)


def _clock_warnings(restarts: Sequence[int]) -> list[str]:
    if not restarts:
        return []
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    return [f"restarted: the clock of the file restarts {times}, first at frame {restarts[0]}; the time continues"]


def _label_warnings(video: Item, count: int, *, thinned: bool) -> list[str]:
    labels = video.frame_labels
    if labels is None or len(labels) == count or (thinned and len(labels) > count):
        return []
    return [f"labels: {counted(len(labels), 'label')} for {counted(count, 'frame')}; label 0 is used for frame 0"]
