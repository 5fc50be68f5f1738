"""Videos -> batches of frames or clips, decoded and resized ahead by threads; bad videos stop or are left out."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from offnormal.data.ahead import Ahead
from offnormal.data.clips import Clip, Timed, most_clips
from offnormal.data.dataset import Skipped
from offnormal.data.frame_cache import DiskCache, FrameCache, LaidFrame, RamCache
from offnormal.data.loader import Batch, OnBad, stack
from offnormal.data.video_reading import Ended, HowToRead, read_clips
from offnormal.errors import ConfigError, DataError, ImageError, VideoError
from offnormal.types import ANOMALOUS, NORMAL, Frame, InputSpec, Item, Sample

CacheKind = Literal["off", "ram", "disk"]
_AT_ONCE = 2  # videos that are decoded at the same time, so that none is waited for where one ends


_Found = tuple[Item, Clip[LaidFrame]]
_Laid = tuple[Sample, Clip[LaidFrame]]


class VideoLoader:
    """Iterates batches of frames (N, C, H, W) or clips (N, C, T, H, W) of videos in order, as the input says.

    One sample a clip: its `frame` is the last of the clip's targets, whose time, label and mask it bears (of a clip
    scored as a whole the last frame, anomalous when any frame of it is), and its group that of its video, or the
    video's name. `Batch.frames` are the targets, of clips as a whole their first and last frame. A batch may hold
    clips of several videos. Each frame is resized once, however many clips it is in.

    every_s: one clip about every so many seconds in place of one every `hop` frames. fps: the rate of folders of
    frames, which have no clock. cache: keeps resized frames for the next pass, also of `only`; on disk in `cache_dir`.
    stretches: how many groups each video without one is cut into, of about the same length, one after the other.
    seen: called with every frame as it was decoded, at its own size, before the clips that it is in are given, in the
    thread that decodes; not with frames from a cache.
    Attributes: `skipped` (bad videos of the last pass), `ended` (the others, once their last clip was taken),
    `waited_s` (seconds its user waited for data in that pass), `given` (clips in it).
    """

    def __init__(
        self,
        videos: Sequence[Item],
        spec: InputSpec,
        *,
        batch_size: int,
        every_s: float | None = None,
        masks: bool = False,
        on_bad: OnBad = "stop",
        cache: CacheKind = "off",
        cache_dir: Path | None = None,
        fps: float | None = None,
        stretches: int = 1,
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
        seen: Callable[[Frame], None] | None = None,
    ) -> None:
        if masks and not spec.targets:
            raise ConfigError("masks were asked for, but the clips are scored as a whole, without a map to lay beside")
        if every_s is not None and not 0 < every_s < math.inf:
            raise ConfigError(f"one clip every {every_s:g} s: expected a number of seconds above 0")
        twice = [path for path, count in Counter(video.path for video in videos).items() if count > 1]
        if twice:
            raise DataError(f"{twice[0]}: the same video is given more than once; leave it out")
        self.videos = list(videos)
        self.spec = spec
        self.batch_size = batch_size
        self.on_bad = on_bad
        self.workers = workers or min(8, os.cpu_count() or 1)
        self.how = HowToRead(
            spec=spec,
            every_s=every_s,
            masks=masks,
            fps=fps,
            cache=_make_cache(cache, cache_dir),
            pending=self.workers + 1,
            seen=seen,
        )
        self.progress = progress
        self.skipped: list[Skipped] = []
        self.ended: list[Ended] = []
        self.waited_s = 0.0
        self.given = 0
        self.stretches = stretches
        self._groups: Set[str | None] | None = None  # of the clips given; None: all
        self._apart = False
        self._counts: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}

    def __len__(self) -> int:
        """At most how many clips there are, as the containers say; unreadable videos count as none.

        A video that says neither its length nor its duration is decoded to be counted.
        """
        return sum(self._count(video) for video in self.videos)

    def groups(self) -> list[str]:
        """Every group that a sample may be of, in the order of the videos."""
        return list(dict.fromkeys(f"{_group(video)}{end}" for video in self.videos for end in self._endings(video)))

    def only(self, groups: Set[str | None], *, apart: bool = False) -> Self:
        """A loader over the videos of these groups alone, otherwise the same but without progress.

        apart: without the clips that begin in another group, where a video is cut.
        """
        other = copy.copy(self)
        other.videos = [
            video for video in self.videos if any(f"{_group(video)}{end}" in groups for end in self._endings(video))
        ]
        other._groups, other._apart = groups, apart
        other.progress, other.skipped, other.ended, other.waited_s = None, [], [], 0.0
        return other

    def over(self, videos: Sequence[Item]) -> Self:
        """A loader over all clips of these videos, of whatever group, otherwise the same."""
        other = copy.copy(self)
        other.videos = list(videos)
        other._groups, other._apart = None, False
        other.skipped, other.ended, other.waited_s = [], [], 0.0
        return other

    def __iter__(self) -> Iterator[Batch]:
        ready: list[_Laid] = []
        with contextlib.closing(self.laid()) as clips:
            for found in clips:
                ready.append(found)
                if len(ready) == self.batch_size:
                    yield self._batch(ready)
                    ready = []
        if ready:
            yield self._batch(ready)

    def laid(self) -> Generator[_Laid, None, None]:
        """One pass, clip by clip, with its frames as they were laid at input size."""
        self.skipped, self.ended, self.waited_s = [], [], 0.0
        self.given = 0
        with contextlib.closing(self._clips()) as clips:
            for video, clip in clips:
                sample = self.sample_of(video, clip)
                if sample is None:
                    continue
                self.given += 1
                if self.progress is not None:
                    self.progress(1)
                yield sample, clip

    def sample_of(self, video: Item, clip: Clip[Any]) -> Sample | None:
        """What is known of a clip of a video, of whose frames only places and times count; None: it is not given."""
        group = self._group_of(video, clip.frames[-1])
        if self._groups is not None and (
            group not in self._groups or (self._apart and self._group_of(video, clip.frames[0]) not in self._groups)
        ):
            return None
        return _sample(video, clip, group)

    def _clips(self) -> Generator[_Found, None, None]:
        """Clips of all videos in order, while the next ones are read."""
        room = max(2, 2 * self.batch_size // self.spec.hop)
        reading: deque[tuple[Item, Ahead[Clip[LaidFrame] | Ended]]] = deque()
        waiting = deque(self.videos)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="resize") as pool:
            try:
                while reading or waiting:
                    while waiting and len(reading) < max(_AT_ONCE, self.workers // 2):
                        video = waiting.popleft()
                        reading.append(
                            (video, Ahead(partial(read_clips, video, self.how, pool), room=room, name="decode"))
                        )
                    yield from self._taken(*reading[0])
                    reading.popleft()
            finally:
                for _, ahead in reading:
                    ahead.close()

    def _taken(self, video: Item, ahead: Ahead[Clip[LaidFrame] | Ended]) -> Iterator[_Found]:
        made = iter(ahead)
        while True:
            start = time.perf_counter()
            try:
                found = next(made, None)
            except (VideoError, ImageError) as error:
                if self.on_bad == "stop":
                    raise VideoError(
                        f"video {video.name}: {error}; or leave such videos out with --on-bad skip"
                    ) from None
                self.skipped.append(Skipped(video.path, str(error)))
                return
            finally:
                self.waited_s += time.perf_counter() - start
            if found is None:
                return
            if isinstance(found, Ended):
                self.ended.append(found)
            else:
                yield video, found

    def _batch(self, ready: Sequence[_Laid]) -> Batch:
        clips = [clip for _, clip in ready]
        masks = [frame.mask for clip in clips for frame in clip.targets if frame.mask is not None]
        return Batch(
            pixels=stack([join_frames([frame.pixels for frame in clip.frames]) for clip in clips]),
            samples=[sample for sample, _ in ready],
            masks=np.stack(masks) if self.how.masks else None,
            frames=np.array([spoken_of(clip) for clip in clips], np.int64),
        )

    def _endings(self, video: Item) -> list[str]:
        """What follows a video's name in the groups it is cut into."""
        cut = self.stretches > 1 and video.group is None
        return [f" {number + 1}/{self.stretches}" for number in range(self.stretches)] if cut else [""]

    def _group_of(self, video: Item, frame: Timed) -> str:
        endings = self._endings(video)
        if len(endings) == 1:
            return _group(video)
        if video.path not in self._lengths:
            with self.how.open(video) as reader:
                self._lengths[video.path] = reader.info.frames or 1
        number = frame.index * self.stretches // self._lengths[video.path]
        return _group(video) + endings[min(number, self.stretches - 1)]

    def _count(self, video: Item) -> int:
        if video.path not in self._counts:
            try:
                self._counts[video.path] = self._clips_in(video)
            except (VideoError, ImageError):
                self._counts[video.path] = 0
        return self._counts[video.path]

    def _clips_in(self, video: Item) -> int:
        with self.how.open(video) as reader:
            info = reader.info
            frames = info.frames if info.frames is not None else sum(1 for _ in reader.frames())
        every_s = self.how.every_s
        if every_s is None:
            return most_clips(self.spec, frames, info.fps)
        seconds = info.duration_s if info.duration_s is not None else frames / (info.fps or 1)
        return min(most_clips(replace(self.spec, hop=1), frames, info.fps), math.floor(seconds / every_s) + 1)


def _make_cache(kind: CacheKind, folder: Path | None) -> FrameCache | None:
    if kind == "disk":
        if folder is None:
            raise ConfigError("a cache on disk needs a folder: give cache_dir")
        return DiskCache(folder)
    return RamCache() if kind == "ram" else None


def _group(video: Item) -> str:
    return video.group if video.group is not None else video.name


def _ends(clip: Clip[Any]) -> tuple[Timed, Timed]:
    return clip.frames[0], clip.frames[-1]


def join_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (C, H, W) -> (C, H, W) of one, (C, T, H, W) of several."""
    return frames[0] if len(frames) == 1 else np.stack(frames, axis=1)


def spoken_of(clip: Clip[Any]) -> list[int]:
    """The K frames that the scores of a clip speak of; of a clip as a whole its first and last frame."""
    return [frame.index for frame in clip.targets or _ends(clip)]


def _sample(video: Item, clip: Clip[Any], group: str) -> Sample:
    first, last = _ends(clip)
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
