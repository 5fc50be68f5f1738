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
from offnormal.data.frame_cache import FrameCache, ResizedFrame, cache_key
from offnormal.data.frame_masks import FrameMasks, open_masks
from offnormal.data.images import resize_mask, to_pixels
from offnormal.errors import DataError
from offnormal.sources.privacy import paint
from offnormal.sources.video import VideoReader, open_video
from offnormal.types import Frame, InputSpec, Item

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """What is known of a video when its last clip was given."""

    video: Item
    frames: int  # T, up to the last one read, those lost in gaps included
    times_s: np.ndarray  # (T,) float64; NaN for frames that were lost, or where there is no clock
    fps: float | None  # as the container says, or as was given for a folder
    restarts: tuple[int, ...]  # frames with which the clock starts anew; times go on
    is_thinned: bool  # whether clips are some seconds apart on purpose
    gaps: tuple[int, ...]  # index of the first frame after each gap
    warnings: tuple[str, ...]  # each begins with a name, such as `slow:`


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What is wanted of videos."""

    spec: InputSpec
    every_s: float | None = None  # seconds between two clips; None: as the hop says
    masks: bool = False
    fps: float | None = None  # of folders of frames and bare streams
    cache: FrameCache | None = None
    pending: int = 2  # frames of a video that are being resized at once
    seen: Callable[[Frame], None] | None = None  # called with every frame that is decoded, masked
    said: set[str] = field(default_factory=set)  # names of warnings already logged

    def open(self, video: Item) -> VideoReader:
        """The reader of a video; VideoError when it cannot be read."""
        return open_video(video.path, fps=self.fps, bits=self.spec.bits)

    def show(self, frame: Frame) -> None:
        """Let whoever wants to see frames see one, as it was decoded but masked."""
        if self.seen is not None:
            self.seen(replace(frame, image=paint(frame.image, self.spec.mask)))

    def warn(self, video: Item, warning: str) -> None:
        """Log a warning unless one of its name was logged of another video."""
        name = warning.partition(":")[0]
        if name not in self.said:
            self.said.add(name)
            log.warning("video %s: %s; the same of other videos is not said again", video.name, warning)


def read_clips(video: Item, reading: ReadOptions, pool: Executor) -> Generator[Clip[ResizedFrame] | Ended, None, None]:
    """The clips of one video in order, and what is known of it at the end.

    pool: resizes frames. Whatever is raised names the video in a note; VideoError when it cannot be read, DataError
    when its masks do not belong to it.
    """
    try:
        with reading.open(video) as reader, _masks(video, reading) as masks:
            length = reader.info.frames if reader.info.exact else None
            maker: ClipMaker[Any] = clip_maker(reading.spec, length=length, every_s=reading.every_s)
            times: dict[int, float | None] = {}
            make = _sparse_clips if reading.every_s is not None and reading.spec.frames > 1 else _dense_clips
            yield from make(video, reader, masks, reading, pool, maker, times)
            if reading.every_s is not None and reading.spec.frames == 1:  # frames were passed over
                times = dict(enumerate(reader.times())) | times
            count = max(times, default=-1) + 1
            warnings = [
                *maker.warnings,
                *_clock_warnings(reader.restarts),
                *_label_warnings(video, count, thinned=reading.every_s is not None),
            ]
            for warning in warnings:
                reading.warn(video, warning)
            in_order = np.array([times.get(index) for index in range(count)], np.float64)
            yield Ended(
                video,
                count,
                in_order,
                reader.info.fps,
                tuple(reader.restarts),
                reading.every_s is not None,
                tuple(maker.gaps),
                (*reader.warnings, *warnings),
            )
    except Exception as error:
        error.add_note(f"while reading video {video.name} ({video.path})")
        raise


def _masks(video: Item, reading: ReadOptions) -> contextlib.AbstractContextManager[FrameMasks | None]:
    return open_masks(video.masks) if reading.masks and video.masks is not None else contextlib.nullcontext()


def _dense_clips(
    video: Item,
    reader: VideoReader,
    masks: FrameMasks | None,
    reading: ReadOptions,
    pool: Executor,
    maker: ClipMaker[ResizedFrame],
    times: dict[int, float | None],
) -> Generator[Clip[ResizedFrame], None, None]:
    """Clips of which most frames are used: each is resized, or taken from the cache, as it comes."""
    with contextlib.closing(_frames(video, reader, masks, reading, pool)) as frames:
        for frame in frames:
            times[frame.index] = frame.time_s
            if frame.index in reader.restarts:
                maker.reset()
            yield from maker.push(frame)
    yield from maker.end()


def _sparse_clips(
    video: Item,
    reader: VideoReader,
    masks: FrameMasks | None,
    reading: ReadOptions,
    pool: Executor,
    maker: ClipMaker[Frame],
    times: dict[int, float | None],
) -> Generator[Clip[ResizedFrame], None, None]:
    """Clips some seconds apart: only the frames in them are resized."""

    def resize(frame: Frame) -> ResizedFrame:
        size = (frame.image.shape[0], frame.image.shape[1])
        return _resize(frame, _mask_of(video, masks, frame.index, size, reading), reading.spec)

    def resized(clips: Iterable[Clip[Frame]]) -> Iterator[Clip[ResizedFrame]]:
        for clip in clips:
            done = dict(zip((frame.index for frame in clip.frames), pool.map(resize, clip.frames), strict=True))
            yield Clip(
                tuple(done[frame.index] for frame in clip.frames), tuple(done[frame.index] for frame in clip.targets)
            )

    for frame in reader.frames():
        reading.show(frame)
        times[frame.index] = frame.time_s
        if frame.index in reader.restarts:
            maker.reset()
        yield from resized(maker.push(frame))
    yield from resized(maker.end())


def _frames(
    video: Item, reader: VideoReader, masks: FrameMasks | None, reading: ReadOptions, pool: Executor
) -> Generator[ResizedFrame, None, None]:
    """Frames at input size from the cache or from the reader, which then fills the cache."""
    thinned = reading.every_s if reading.spec.frames == 1 else None
    key = cache_key(video.path, reading.spec, every_s=thinned, fps=reading.fps) if reading.cache is not None else ""
    stored = reading.cache.read(key) if reading.cache is not None else None
    if stored is not None:
        for frame in stored:
            yield replace(frame, mask=_mask_of(video, masks, frame.index, reader.info.size, reading))
        return
    recording = reading.cache.record(key) if reading.cache is not None else None
    try:
        decoded = reader.frames() if thinned is None else reader.thinned(thinned)
        for frame in _resized(video, decoded, masks, reading, pool):
            if recording is not None:
                recording.add(frame)
            yield frame
        if recording is not None and not (reader.warnings or reader.restarts):  # which are found by reading it
            recording.commit()
    finally:
        if recording is not None:
            recording.close()


def _resized(
    video: Item, frames: Iterator[Frame], masks: FrameMasks | None, reading: ReadOptions, pool: Executor
) -> Generator[ResizedFrame, None, None]:
    pending: deque[Future[ResizedFrame]] = deque()
    try:
        for frame in frames:
            reading.show(frame)
            mask = _mask_of(video, masks, frame.index, (frame.image.shape[0], frame.image.shape[1]), reading)
            pending.append(pool.submit(_resize, frame, mask, reading.spec))
            if len(pending) > reading.pending:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _resize(frame: Frame, mask: np.ndarray | None, spec: InputSpec) -> ResizedFrame:
    return ResizedFrame(frame.index, frame.time_s, to_pixels(Image.fromarray(frame.image), spec), mask)


def _mask_of(
    video: Item, masks: FrameMasks | None, index: int, size: tuple[int, int], reading: ReadOptions
) -> np.ndarray | None:
    """(H, W) bool at input size, empty for a video without masks; None when none are wanted."""
    if not reading.masks:
        return None
    if masks is None:
        return np.zeros(reading.spec.size, bool)
    if index >= len(masks):
        raise DataError(f"video {video.name}: {len(masks)} masks, but there is a frame {index}; expected one a frame")
    marked = masks[index]
    if marked.shape != size:
        raise DataError(
            f"video {video.name}: the mask of frame {index} is {marked.shape[1]} x {marked.shape[0]} pixels, the frame "
            f"{size[1]} x {size[0]}; expected the same size"
        )
    return resize_mask(marked, reading.spec)


def _clock_warnings(restarts: Sequence[int]) -> list[str]:
    if not restarts:
        return []
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    return [f"restarted: the clock of the file starts anew {times}, first with frame {restarts[0]}; its times go on"]


def _label_warnings(video: Item, count: int, *, thinned: bool) -> list[str]:
    labels = video.frame_labels
    if labels is None or len(labels) == count or (thinned and len(labels) > count):
        return []
    return [f"labels: {len(labels)} labels for {count} frames; they are taken to begin with the same frame"]
