"""Videos -> batches of frames or clips, decoded and resized by threads in advance."""

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
from offnormal.data.clips import Clip, F, Timed, most_clips
from offnormal.data.frame_cache import DiskCache, FrameCache, RamCache, ResizedFrame
from offnormal.data.prefetch import Prefetch
from offnormal.data.video_reading import Ended, ReadOptions, read_clips
from offnormal.errors import ConfigError, DataError, ImageError, VideoError
from offnormal.types import ANOMALOUS, NORMAL, Frame, InputSpec, Item, Sample

CacheKind = Literal["off", "ram", "disk"]
_AT_ONCE = 2  # videos that are decoded at the same time, so that none is waited for where one ends


class VideoOptions(TypedDict, total=False):
    """What a VideoLoader takes besides the options of every loader; see there."""

    every_s: float | None
    cache: CacheKind
    cache_dir: Path | None
    fps: float | None
    stretches: int
    seen: Callable[[Frame], None] | None


class VideoLoader(Loader):
    """See `Loader`; batches of frames (N, C, H, W) or clips (N, C, T, H, W) of videos in order, as the input says.

    One sample a clip: its `frame` is the last of the clip's targets, whose time, label and mask it bears (of a clip
    scored as a whole the last frame, anomalous when any frame of it is), and its group that of its video, or the
    video's name. `Batch.frames` are the targets, of clips as a whole their first and last frame. A batch may hold
    clips of several videos. Each frame is resized once, however many clips it is in.

    every_s: one clip about every so many seconds in place of one every `hop` frames. fps: the rate of folders of
    frames, which have no clock. cache: keeps resized frames for the next pass, also of `only`; on disk in `cache_dir`.
    stretches: how many groups each video without one is cut into, of about the same length, one after the other.
    seen: called with every frame as it was decoded, at its own size, before the clips that it is in are given, in the
    thread that decodes; not with frames from a cache.
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
            raise ConfigError("masks were asked for, but the clips are scored as a whole, without a map to lay beside")
        if every_s is not None and not 0 < every_s < math.inf:
            raise ConfigError(f"one clip every {every_s:g} s: expected a number of seconds above 0")
        repeated = [path for path, count in Counter(video.path for video in items).items() if count > 1]
        if repeated:
            raise DataError(f"{repeated[0]}: the same video is given more than once; leave it out")
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
            seen=options.get("seen"),
        )
        self.stretches = options.get("stretches", 1)
        self._groups: Set[str | None] | None = None  # of the clips given; None: all
        self._apart = False
        self._counts: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}

    def __len__(self) -> int:
        """At most how many clips there are, as the containers say; unreadable videos count as none.

        A video that says neither its length nor its duration is decoded to be counted.
        """
        return sum(self._count_clips(video) for video in self.items)

    def groups(self) -> list[str]:
        """Every group that a sample may be of, in the order of the videos."""
        return list(dict.fromkeys(group for video in self.items for group in self._groups_of(video)))

    def only(self, groups: Set[str | None], *, apart: bool = False) -> Self:
        """A loader over the videos of these groups alone, otherwise the same but without progress.

        apart: without the clips that begin in another group, where a video is cut.
        """
        other = self.silent().over([video for video in self.items if not groups.isdisjoint(self._groups_of(video))])
        other._groups, other._apart = groups, apart
        return other

    def over(self, items: Sequence[Item]) -> Self:
        """A loader over all clips of these videos, of whatever group, otherwise the same."""
        other = super().over(items)
        other._groups, other._apart = None, False
        return other

    def sample_of(self, video: Item, clip: Clip[F]) -> Sample | None:
        """What is known of a clip of a video, of whose frames only places and times count; None: it is not given."""
        group = self._group_of(video, clip.frames[-1])
        if self._groups is not None and (
            group not in self._groups or (self._apart and self._group_of(video, clip.frames[0]) not in self._groups)
        ):
            return None
        return _sample(video, clip, group)

    def _rows(self) -> Generator[Row, None, None]:
        """Clips of all videos in order, while the next ones are read."""
        room = max(2, 2 * self.batch_size // self.spec.hop)
        reading: deque[tuple[Item, Prefetch[Clip[ResizedFrame] | Ended]]] = deque()
        waiting = deque(self.items)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="resize") as pool:
            try:
                while reading or waiting:
                    while waiting and len(reading) < max(_AT_ONCE, self.workers // 2):
                        video = waiting.popleft()
                        read = partial(read_clips, video, self.reading, pool)
                        reading.append((video, Prefetch(read, room=room, name="decode")))
                    yield from self._rows_of(*reading[0])
                    reading.popleft()
            finally:
                for _, prefetch in reading:
                    prefetch.close()

    def _rows_of(self, video: Item, prefetch: Prefetch[Clip[ResizedFrame] | Ended]) -> Iterator[Row]:
        clips = iter(prefetch)
        while (clip := self._next(video, lambda: next(clips, None))) is not None:
            if isinstance(clip, Ended):
                self.ended.append(clip)
            elif (sample := self.sample_of(video, clip)) is not None:
                self._count()
                yield sample, clip

    def _groups_of(self, video: Item) -> list[str]:
        """The groups that a video is cut into."""
        name = video.group if video.group is not None else video.name
        if self.stretches == 1 or video.group is not None:
            return [name]
        return [f"{name} {number + 1}/{self.stretches}" for number in range(self.stretches)]

    def _group_of(self, video: Item, frame: Timed) -> str:
        groups = self._groups_of(video)
        if len(groups) == 1:
            return groups[0]
        if video.path not in self._lengths:
            with self.reading.open(video) as reader:
                self._lengths[video.path] = reader.info.frames or 1
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
            return most_clips(self.spec, frames, info.fps)
        seconds = info.duration_s if info.duration_s is not None else frames / (info.fps or 1)
        return min(most_clips(replace(self.spec, hop=1), frames, info.fps), math.floor(seconds / self.every_s) + 1)


def _make_cache(kind: CacheKind, folder: Path | None) -> FrameCache | None:
    if kind == "disk":
        if folder is None:
            raise ConfigError("a cache on disk needs a folder: give cache_dir")
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
    """Anomalous when any frame from the first to the last is; None beyond the labels. Of a whole video its label."""
    if video.label is not None:
        return video.label
    if video.frame_labels is None or last >= len(video.frame_labels):
        return None
    return ANOMALOUS if video.frame_labels[first : last + 1].any() else NORMAL
