"""Loads batches of frames or clips from videos; threads prefetch, decode, and resize them."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypedDict, Unpack

from offnormal.data.batches import Loader, OnError, Row
from offnormal.data.clips import Clip, F, TimedFrame, max_clip_count
from offnormal.data.frame_cache import DiskCache, FrameCache, RamCache, ResizedFrame
from offnormal.data.prefetch import Prefetch
from offnormal.data.video_reading import ReadOptions, VideoSummary, read_clips
from offnormal.errors import ConfigError, DataError, ImageError, VideoError
from offnormal.types import ANOMALOUS, NORMAL, Frame, InputSpec, Item, Sample

CacheKind = Literal["off", "ram", "disk"]
_MIN_PARALLEL = 2  # videos decoded at the same time, so that the next one is ready when one ends


class VideoOptions(TypedDict, total=False):
    """Options of a VideoLoader in addition to those of every loader."""

    every_s: float | None
    cache: CacheKind
    cache_dir: Path | None
    fps: float | None
    stretches: int
    on_frame: Callable[[Frame], None] | None


class VideoLoader(Loader):
    """Loads batches of frames (N, C, H, W) or clips (N, C, T, H, W) from videos in order, see `Loader`.

    Each clip is one sample. Its `frame`, time, label, and mask are those of its last target (for a clip scored as a
    whole: the last frame, and anomalous if any frame is). Its group is that of its video, or else the video's name.
    `Batch.frames` are the targets, or the first and last frame of clips scored as a whole. A batch may contain clips of
    several videos. Each frame is resized once, even if it is in several clips.

    every_s: seconds between clips, instead of `hop`. fps: frame rate of folders of frames, which have no clock. cache:
    keep resized frames for the next pass, also for `with_groups`; on disk in `cache_dir`. stretches: number of
    consecutive groups of about equal length that each video without a group is cut into. on_frame: called in the
    decoding thread with every decoded frame at its original size, before its clips are yielded; not with cached frames.
    """

    def __init__(
        self,
        items: Sequence[Item],
        spec: InputSpec,
        *,
        batch_size: int,
        masks: bool = False,
        on_error: OnError = "fail",
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
        **options: Unpack[VideoOptions],
    ) -> None:
        self.every_s = every_s = options.get("every_s")
        if masks and not spec.targets:
            raise ConfigError("masks=True for clips that are scored as a whole, without a map; use masks=False")
        if every_s is not None and not 0 < every_s < math.inf:
            raise ConfigError(f"every_s {every_s:g}: expected seconds above 0")
        repeated = [path for path, count in Counter(video.path for video in items).items() if count > 1]
        if repeated:
            raise DataError(f"{repeated[0]}: video occurs more than once; remove the duplicates")
        super().__init__(
            items, spec, batch_size=batch_size, masks=masks, on_error=on_error, workers=workers, progress=progress
        )
        self.reading = ReadOptions(
            spec=spec,
            every_s=every_s,
            masks=masks,
            fps=options.get("fps"),
            cache=_make_cache(options.get("cache", "off"), options.get("cache_dir")),
            pending=self.workers + 1,
            on_frame=options.get("on_frame"),
        )
        self.stretches = options.get("stretches", 1)
        self._groups: Set[str | None] | None = None  # groups to load; None: all
        self._skips_straddling = False
        self._counts: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}

    def __len__(self) -> int:
        """Return an upper bound of the number of clips, from the video headers; 0 for unreadable videos.

        A video whose header has neither length nor duration is decoded to count its frames.
        """
        return sum(self._count_clips(video) for video in self.items)

    def groups(self) -> list[str]:
        """Return all groups of samples, in the order of the videos."""
        return list(dict.fromkeys(group for video in self.items for group in self._groups_of(video)))

    def with_groups(self, groups: Set[str | None], *, skip_straddling: bool = False) -> Self:
        """Return a copy, without progress, that loads only samples of these groups.

        skip_straddling: also skip clips that start in another group, where a video is cut.
        """
        loader = self.without_progress().with_items(
            [video for video in self.items if not groups.isdisjoint(self._groups_of(video))]
        )
        loader._groups, loader._skips_straddling = groups, skip_straddling
        return loader

    def with_items(self, items: Sequence[Item]) -> Self:
        """Return a copy that loads all clips of these videos, in all groups."""
        loader = super().with_items(items)
        loader._groups, loader._skips_straddling = None, False
        return loader

    def make_sample(self, video: Item, clip: Clip[F]) -> Sample | None:
        """Make the sample of a clip from the indices and times of its frames; None: the clip is not in the groups."""
        group = self._group_of(video, clip.frames[-1])
        if self._groups is not None and (
            group not in self._groups
            or (self._skips_straddling and self._group_of(video, clip.frames[0]) not in self._groups)
        ):
            return None
        return _sample(video, clip, group)

    def _rows(self) -> Generator[Row, None, None]:
        """Yield the clips of all videos in order; prefetches the next videos."""
        capacity = max(2, 2 * self.batch_size // self.spec.hop)
        reading: deque[tuple[Item, Prefetch[Clip[ResizedFrame] | VideoSummary]]] = deque()
        waiting = deque(self.items)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="resize") as pool:
            try:
                while reading or waiting:
                    while waiting and len(reading) < max(_MIN_PARALLEL, self.workers // 2):
                        video = waiting.popleft()
                        make_clips = partial(read_clips, video, self.reading, pool)
                        reading.append((video, Prefetch(make_clips, capacity=capacity, name="decode")))
                    yield from self._rows_of(*reading[0])
                    reading.popleft()
            finally:
                for _, prefetch in reading:
                    prefetch.close()

    def _rows_of(self, video: Item, prefetch: Prefetch[Clip[ResizedFrame] | VideoSummary]) -> Iterator[Row]:
        clips = iter(prefetch)
        while (clip := self._next(video, lambda: next(clips, None))) is not None:
            if isinstance(clip, VideoSummary):
                self.summaries.append(clip)
            elif (sample := self.make_sample(video, clip)) is not None:
                self._count()
                yield sample, clip

    def _groups_of(self, video: Item) -> list[str]:
        """Return the groups that a video is cut into."""
        name = video.group if video.group is not None else video.name
        if self.stretches == 1 or video.group is not None:
            return [name]
        return [f"{name} {number + 1}/{self.stretches}" for number in range(self.stretches)]

    def _group_of(self, video: Item, frame: TimedFrame) -> str:
        groups = self._groups_of(video)
        if len(groups) == 1:
            return groups[0]
        if video.path not in self._lengths:
            with self.reading.open(video) as reader:
                stated = reader.info.frames if reader.info.exact else None
                self._lengths[video.path] = stated or len(reader.times())
        number = frame.index * self.stretches // self._lengths[video.path]
        return groups[min(number, self.stretches - 1)]

    def _count_clips(self, video: Item) -> int:
        if video.path not in self._counts:
            try:
                self._counts[video.path] = self._clips_in(video)
            except (VideoError, ImageError):
                self._counts[video.path] = 0
        return self._counts[video.path]

    def _clips_in(self, video: Item) -> int:
        with self.reading.open(video) as reader:
            info = reader.info
            frames = info.frames if info.frames is not None else sum(1 for _ in reader.frames())
        if self.every_s is None:
            return max_clip_count(self.spec, frames, info.fps)
        seconds = info.duration_s if info.duration_s is not None else frames / (info.fps or 1)
        return min(max_clip_count(replace(self.spec, hop=1), frames, info.fps), math.floor(seconds / self.every_s) + 1)


def _make_cache(kind: CacheKind, folder: Path | None) -> FrameCache | None:
    if kind == "disk":
        if folder is None:
            raise ConfigError("cache 'disk' without cache_dir: expected a folder")
        return DiskCache(folder)
    return RamCache() if kind == "ram" else None


def _sample(video: Item, clip: Clip[F], group: str) -> Sample:
    first, last = clip.frames[0], clip.frames[-1]
    if clip.targets:
        first = last = max(clip.targets, key=lambda frame: frame.index)
    return Sample(
        item=video,
        label=_label(video, first.index, last.index),
        group=group,
        frame=last.index,
        time_s=last.time_s,
    )


def _label(video: Item, first: int, last: int) -> int | None:
    """Return the label of the video, or else whether any frame from first to last is anomalous; None: no labels."""
    if video.label is not None:
        return video.label
    if video.frame_labels is None or last >= len(video.frame_labels):
        return None
    return ANOMALOUS if video.frame_labels[first : last + 1].any() else NORMAL
