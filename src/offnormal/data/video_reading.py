"""One video -> its clips at input size: decoding, resizing, masks and the cache of frames in one generator."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from offnormal.data.clips import Clip, ClipMaker, F, clip_maker
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

    @property
    def lost(self) -> list[int]:
        """Frames that could not be decoded; none where the clock does not tell."""
        unknown = np.isnan(self.times_s)
        return [] if self.is_thinned or unknown.all() else np.flatnonzero(unknown).tolist()


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
    source = video.masks if reading.masks else None
    try:
        with reading.open(video) as reader, open_masks(source) if source else contextlib.nullcontext() as masks:
            yield from _Pass(video, reader, masks, reading, pool).clips()
    except Exception as error:
        error.add_note(f"while reading video {video.name} ({video.path})")
        raise


@dataclass(slots=True)
class _Pass:
    """One video while it is read from its first to its last frame."""

    video: Item
    reader: VideoReader
    masks: FrameMasks | None
    reading: ReadOptions
    pool: Executor
    times: dict[int, float | None] = field(default_factory=dict)  # of the frames read so far

    def clips(self) -> Generator[Clip[ResizedFrame] | Ended, None, None]:
        """The clips, then what is known of the video."""
        spec, every_s = self.reading.spec, self.reading.every_s
        length = self.reader.info.frames if self.reader.info.exact else None
        if every_s is not None and spec.frames > 1:  # only the frames in the clips are resized
            of_frames: ClipMaker[Frame] = clip_maker(spec, length=length, every_s=every_s)
            for clip in self._made(of_frames, self._seen(self.reader.frames())):
                frames = zip(clip.frames, self.pool.map(self._resized, clip.frames), strict=True)
                resized = {frame.index: of_frame for frame, of_frame in frames}
                yield Clip(
                    tuple(resized[frame.index] for frame in clip.frames),
                    tuple(resized[frame.index] for frame in clip.targets),
                )
            yield self._ended(of_frames)
            return
        maker: ClipMaker[ResizedFrame] = clip_maker(spec, length=length, every_s=every_s)
        with contextlib.closing(self._frames()) as frames_at_size:
            yield from self._made(maker, frames_at_size)
        if every_s is not None:  # frames were passed over
            self.times = dict(enumerate(self.reader.times())) | self.times
        yield self._ended(maker)

    def _made(self, maker: ClipMaker[F], frames: Iterator[F]) -> Iterator[Clip[F]]:
        for frame in frames:
            self.times[frame.index] = frame.time_s
            if frame.index in self.reader.restarts:
                maker.reset()
            yield from maker.push(frame)
        yield from maker.end()

    def _ended(self, maker: ClipMaker[F]) -> Ended:
        count, is_thinned = max(self.times, default=-1) + 1, self.reading.every_s is not None
        warnings = [
            *maker.warnings,
            *_clock_warnings(self.reader.restarts),
            *_label_warnings(self.video, count, thinned=is_thinned),
        ]
        for warning in warnings:
            self.reading.warn(self.video, warning)
        return Ended(
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
        """Frames at input size from the cache or from the reader, which then fills the cache."""
        reading, reader = self.reading, self.reader
        thinned = reading.every_s if reading.spec.frames == 1 else None
        decoded = reader.frames() if thinned is None else reader.thinned(thinned)
        if reading.cache is None:
            yield from self._resized_ahead(decoded)
            return
        key = cache_key(self.video.path, reading.spec, every_s=thinned, fps=reading.fps)
        if (stored := reading.cache.read(key)) is not None:
            for frame in stored:
                yield replace(frame, mask=self._mask(frame.index, reader.info.size))
            return
        with contextlib.closing(reading.cache.record(key)) as recording:
            for frame in self._resized_ahead(decoded):
                recording.add(frame)
                yield frame
            if not (reader.warnings or reader.restarts):  # which are found by reading it
                recording.commit()

    def _resized_ahead(self, frames: Iterator[Frame]) -> Generator[ResizedFrame, None, None]:
        pending: deque[Future[ResizedFrame]] = deque()
        try:
            for frame in self._seen(frames):
                mask = self._mask(frame.index, (frame.image.shape[0], frame.image.shape[1]))
                pending.append(self.pool.submit(self._at_size, frame, mask))
                if len(pending) > self.reading.pending:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _seen(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Frames, each shown to whoever wants to see it, as it was decoded but masked."""
        for frame in frames:
            if self.reading.seen is not None:
                self.reading.seen(replace(frame, image=paint(frame.image, self.reading.spec.mask)))
            yield frame

    def _resized(self, frame: Frame) -> ResizedFrame:
        return self._at_size(frame, self._mask(frame.index, (frame.image.shape[0], frame.image.shape[1])))

    def _at_size(self, frame: Frame, mask: np.ndarray | None) -> ResizedFrame:
        pixels = to_pixels(Image.fromarray(frame.image), self.reading.spec)
        return ResizedFrame(frame.index, frame.time_s, pixels, mask)

    def _mask(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """(H, W) bool at input size, empty for a video without masks; None when none are wanted."""
        if not self.reading.masks:
            return None
        if self.masks is None:
            return np.zeros(self.reading.spec.size, bool)
        name = self.video.name
        if index >= len(self.masks):
            raise DataError(
                f"video {name}: {len(self.masks)} masks, but there is a frame {index}; expected one a frame"
            )
        marked = self.masks[index]
        if marked.shape != size:
            raise DataError(
                f"video {name}: the mask of frame {index} is {marked.shape[1]} x {marked.shape[0]} pixels, the frame "
                f"{size[1]} x {size[0]}; expected the same size"
            )
        return resize_mask(marked, self.reading.spec)


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
