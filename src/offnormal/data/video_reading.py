"""One video -> its clips at input size: decoding, resizing, masks and the cache of frames in one generator."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from offnormal.data.clips import Clip, ClipMaker, clip_maker
from offnormal.data.frame_cache import FrameCache, LaidFrame, cache_key
from offnormal.data.frame_masks import FrameMasks, open_masks
from offnormal.data.loader import lay_mask, to_pixels
from offnormal.errors import DataError
from offnormal.metrics.video import FrameScores
from offnormal.sources.privacy import paint
from offnormal.sources.video import VideoReader, open_video
from offnormal.types import Frame, InputSpec, Video

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """What is known of a video when its last clip was given."""

    video: Video
    frames: int  # T, up to the last one read, those lost in gaps included
    times_s: np.ndarray  # (T,) float64; NaN for frames that were lost, or where there is no clock
    fps: float | None  # as the container says, or as was given for a folder
    restarts: tuple[int, ...]  # frames with which the clock starts anew; times go on
    is_thinned: bool  # whether clips are some seconds apart on purpose
    gaps: tuple[int, ...]  # index of the first frame after each gap
    warnings: tuple[str, ...]  # each begins with a name, such as `slow:`

    def scores(self, scores: np.ndarray, labels: np.ndarray | None = None) -> FrameScores:
        """Scores (T,) of the frames with the clock of the video."""
        return FrameScores(
            self.video.name,
            scores,
            labels,
            self.times_s,
            fps=self.fps,
            restarts=self.restarts,
            is_thinned=self.is_thinned,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToRead:
    """What is wanted of videos."""

    spec: InputSpec
    every_s: float | None = None  # seconds between two clips; None: as the hop says
    masks: bool = False
    fps: float | None = None  # of folders of frames
    cache: FrameCache | None = None
    pending: int = 2  # frames of a video that are being resized at once
    seen: Callable[[Frame], None] | None = None  # called with every frame that is decoded, masked
    said: set[str] = field(default_factory=set)  # names of warnings already logged

    def open(self, video: Video) -> VideoReader:
        """The reader of a video; VideoError when it cannot be read."""
        if video.path.is_dir():
            return open_video(video.path, fps=self.fps, bits=self.spec.bits)
        return open_video(video.path)

    def show(self, frame: Frame) -> None:
        """Let whoever wants to see frames see one, as it was decoded but masked."""
        if self.seen is not None:
            self.seen(replace(frame, image=paint(frame.image, self.spec.mask)))

    def warn(self, video: Video, warning: str) -> None:
        """Log a warning unless one of its name was logged of another video."""
        name = warning.partition(":")[0]
        if name not in self.said:
            self.said.add(name)
            log.warning("video %s: %s; the same of other videos is not said again", video.name, warning)


def read_clips(video: Video, how: HowToRead, pool: Executor) -> Generator[Clip[LaidFrame] | Ended, None, None]:
    """The clips of one video in order, and what is known of it at the end.

    pool: resizes frames. Whatever is raised names the video in a note; VideoError when it cannot be read, DataError
    when its masks do not belong to it.
    """
    try:
        with how.open(video) as reader, _masks(video, how) as masks:
            length = reader.info.frames if reader.info.exact else None
            maker: ClipMaker[Any] = clip_maker(how.spec, length=length, every_s=how.every_s)
            times: dict[int, float | None] = {}
            make = _sparse_clips if how.every_s is not None and how.spec.frames > 1 else _dense_clips
            yield from make(video, reader, masks, how, pool, maker, times)
            if how.every_s is not None and how.spec.frames == 1:  # frames were passed over
                times = dict(enumerate(reader.times())) | times
            count = max(times, default=-1) + 1
            warnings = [
                *maker.warnings,
                *_clock_warnings(reader.restarts),
                *_label_warnings(video, count, thinned=how.every_s is not None),
            ]
            for warning in warnings:
                how.warn(video, warning)
            in_order = np.array([times.get(index) for index in range(count)], np.float64)
            yield Ended(
                video,
                count,
                in_order,
                reader.info.fps,
                tuple(reader.restarts),
                how.every_s is not None,
                tuple(maker.gaps),
                (*reader.warnings, *warnings),
            )
    except Exception as error:
        error.add_note(f"while reading video {video.name} ({video.path})")
        raise


def _masks(video: Video, how: HowToRead) -> contextlib.AbstractContextManager[FrameMasks | None]:
    return open_masks(video.masks) if how.masks and video.masks is not None else contextlib.nullcontext()


def _dense_clips(
    video: Video,
    reader: VideoReader,
    masks: FrameMasks | None,
    how: HowToRead,
    pool: Executor,
    maker: ClipMaker[LaidFrame],
    times: dict[int, float | None],
) -> Generator[Clip[LaidFrame], None, None]:
    """Clips of which most frames are used: each is resized, or taken from the cache, as it comes."""
    with contextlib.closing(_laid(video, reader, masks, how, pool)) as frames:
        for frame in frames:
            times[frame.index] = frame.time_s
            if frame.index in reader.restarts:
                maker.reset()
            yield from maker.push(frame)
    yield from maker.end()


def _sparse_clips(
    video: Video,
    reader: VideoReader,
    masks: FrameMasks | None,
    how: HowToRead,
    pool: Executor,
    maker: ClipMaker[Frame],
    times: dict[int, float | None],
) -> Generator[Clip[LaidFrame], None, None]:
    """Clips some seconds apart: only the frames in them are resized."""

    def lay(frame: Frame) -> LaidFrame:
        size = (frame.image.shape[0], frame.image.shape[1])
        return _lay(frame, _mask_of(video, masks, frame.index, size, how), how.spec)

    def laid(clips: Iterable[Clip[Frame]]) -> Iterator[Clip[LaidFrame]]:
        for clip in clips:
            done = dict(zip((frame.index for frame in clip.frames), pool.map(lay, clip.frames), strict=True))
            yield Clip(
                tuple(done[frame.index] for frame in clip.frames), tuple(done[frame.index] for frame in clip.targets)
            )

    for frame in reader.frames():
        how.show(frame)
        times[frame.index] = frame.time_s
        if frame.index in reader.restarts:
            maker.reset()
        yield from laid(maker.push(frame))
    yield from laid(maker.end())


def _laid(
    video: Video, reader: VideoReader, masks: FrameMasks | None, how: HowToRead, pool: Executor
) -> Generator[LaidFrame, None, None]:
    """Frames at input size from the cache or from the reader, which then fills the cache."""
    thinned = how.every_s if how.spec.frames == 1 else None
    key = cache_key(video.path, how.spec, every_s=thinned, fps=how.fps) if how.cache is not None else ""
    stored = how.cache.read(key) if how.cache is not None else None
    if stored is not None:
        for frame in stored:
            yield replace(frame, mask=_mask_of(video, masks, frame.index, reader.info.size, how))
        return
    recording = how.cache.record(key) if how.cache is not None else None
    try:
        for laid in _resized(video, reader.frames() if thinned is None else reader.thinned(thinned), masks, how, pool):
            if recording is not None:
                recording.add(laid)
            yield laid
        if recording is not None and not (reader.warnings or reader.restarts):  # which are found by reading it
            recording.commit()
    finally:
        if recording is not None:
            recording.close()


def _resized(
    video: Video, frames: Iterator[Frame], masks: FrameMasks | None, how: HowToRead, pool: Executor
) -> Generator[LaidFrame, None, None]:
    pending: deque[Future[LaidFrame]] = deque()
    try:
        for frame in frames:
            how.show(frame)
            mask = _mask_of(video, masks, frame.index, (frame.image.shape[0], frame.image.shape[1]), how)
            pending.append(pool.submit(_lay, frame, mask, how.spec))
            if len(pending) > how.pending:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _lay(frame: Frame, mask: np.ndarray | None, spec: InputSpec) -> LaidFrame:
    return LaidFrame(frame.index, frame.time_s, to_pixels(Image.fromarray(frame.image), spec), mask)


def _mask_of(
    video: Video, masks: FrameMasks | None, index: int, size: tuple[int, int], how: HowToRead
) -> np.ndarray | None:
    """(H, W) bool at input size, empty for a video without masks; None when none are wanted."""
    if not how.masks:
        return None
    if masks is None:
        return np.zeros(how.spec.size, bool)
    if index >= len(masks):
        raise DataError(f"video {video.name}: {len(masks)} masks, but there is a frame {index}; expected one a frame")
    marked = masks[index]
    if marked.shape != size:
        raise DataError(
            f"video {video.name}: the mask of frame {index} is {marked.shape[1]} x {marked.shape[0]} pixels, the frame "
            f"{size[1]} x {size[0]}; expected the same size"
        )
    return lay_mask(marked, how.spec)


def _clock_warnings(restarts: Sequence[int]) -> list[str]:
    if not restarts:
        return []
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    return [f"restarted: the clock of the file starts anew {times}, first with frame {restarts[0]}; its times go on"]


def _label_warnings(video: Video, count: int, *, thinned: bool) -> list[str]:
    labels = video.labels
    if labels is None or len(labels) == count or (thinned and len(labels) > count):
        return []
    return [f"labels: {len(labels)} labels for {count} frames; they are taken to begin with the same frame"]
