"""Batches of pixels, and the base class of the image and video loaders."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar

import numpy as np

from offnormal.data.clips import Clip, F
from offnormal.data.dataset import Skipped
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.images import stack
from offnormal.data.masks import MaskSummary
from offnormal.data.video_reading import VideoSummary
from offnormal.errors import ImageError, VideoError
from offnormal.sources.once_log import OnceLog
from offnormal.types import InputSpec, Item, Sample

OnError = Literal["fail", "skip"]
Row = tuple[Sample, Clip[ResizedFrame]]  # an image is a clip of one frame
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Pixels of N images or clips with their samples and masks."""

    pixels: np.ndarray  # (N, C, H, W) or, for clips, (N, C, T, H, W); float32 in 0-1
    samples: list[Sample]
    masks: np.ndarray | None  # (N * K, H, W) bool at input size, one per score; None: not requested
    frames: np.ndarray | None = None  # (N, K) indices of the scored frames, see VideoLoader; None for images


class Batches(Protocol):
    """A source of batches for training and scoring: a loader, or stored samples."""

    batch_size: int
    skipped: list[Skipped]  # unreadable files in the last pass
    waited_s: float  # seconds that the caller waited for data in the last pass
    sample_count: int  # samples yielded in the last pass

    def __len__(self) -> int:
        """Return the number of samples, or an upper bound if the files do not state it."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...

    def with_groups(self, groups: Set[str | None]) -> Self:
        """Return a source of only the samples in these groups, without progress."""
        ...


class Loader(ABC):
    """Iterates over batches of items in order; threads prefetch them. Can be iterated several times.

    on_error: "fail" raises ImageError or VideoError for an unreadable file, "skip" skips and lists it. progress: called
    with the number of items (for videos: clips) that were completed since the last call.
    Attributes, all for the last pass: `skipped` (unreadable files), `summaries` (of the videos that were read to the
    end), `waited_s` (seconds that the caller waited for data), `sample_count`, `mask_summary`.
    """

    _summed_up: tuple[Item | None, set[int]]  # the last item with masks, and its frames
    every_s: float | None = None  # seconds between two clips of a video; None: use `hop` of the input

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
    ) -> None:
        self.items = list(items)
        self.spec = spec
        self.batch_size = batch_size
        self.masks = masks
        self.on_error = on_error
        self.workers = workers or min(8, os.cpu_count() or 1)
        self.progress = progress
        self.notes = OnceLog()  # shared with copies, so that a run warns once
        self._reset()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples with unreadable ones, or an upper bound if the files do not state it."""

    @abstractmethod
    def groups(self) -> list[str]:
        """Return all groups of samples, in the order of the items."""

    @abstractmethod
    def with_groups(self, groups: Set[str | None], *, skip_straddling: bool = False) -> Self:
        """Return a copy, without progress, that loads only samples of these groups.

        skip_straddling: also skip clips that start in another group, where a video is cut.
        """

    @abstractmethod
    def _rows(self) -> Generator[Row, None, None]:
        """Yield the samples of one pass; read files through `_next`, which handles errors."""

    def __iter__(self) -> Iterator[Batch]:
        ready: list[Row] = []
        with contextlib.closing(self.iter_samples()) as rows:
            for row in rows:
                ready.append(row)
                if len(ready) == self.batch_size:
                    yield self._batch(ready)
                    ready = []
        if ready:
            yield self._batch(ready)

    def iter_samples(self) -> Generator[Row, None, None]:
        """Yield the single samples of one pass, with frames at input size."""
        self._reset()
        with contextlib.closing(self._rows()) as rows:
            for row in rows:
                self.sample_count += 1
                self._sum_up_masks(*row)
                yield row

    def _sum_up_masks(self, sample: Sample, clip: Clip[ResizedFrame]) -> None:
        """Add the masks of a clip to the summary, each frame of a video once."""
        if self._summed_up[0] is not sample.item:
            self._summed_up = sample.item, set()
        for frame in clip.targets:
            if frame.check is not None and frame.index not in self._summed_up[1]:
                self.mask_summary.add(frame.check)
                self._summed_up[1].add(frame.index)

    def with_items(self, items: Sequence[Item]) -> Self:
        """Return a copy that loads these items, in all groups."""
        loader = copy.copy(self)
        loader.items = list(items)
        loader._reset()
        return loader

    def without_progress(self) -> Self:
        """Return a copy without progress, which belongs to one pass and cannot be sent to other processes."""
        loader = copy.copy(self)
        loader.progress = None
        loader._reset()
        return loader

    def _reset(self) -> None:
        self.skipped: list[Skipped] = []
        self.summaries: list[VideoSummary] = []
        self.mask_summary = MaskSummary()
        self._summed_up = (None, set())
        self.waited_s = 0.0
        self.sample_count = 0

    def _count(self) -> None:
        if self.progress is not None:
            self.progress(1)

    def _next(self, item: Item, take: Callable[[], T]) -> T | None:
        """Return the result of `take` and measure the wait for it; None: the item is unreadable and was skipped."""
        start = time.perf_counter()
        try:
            return take()
        except (VideoError, ImageError) as error:
            if self.on_error == "skip":
                self.skipped.append(Skipped(item.path, str(error)))
                return None
            if item.is_video:
                prefix = "" if item.address in str(error) else f"video {item.name}: "
                raise VideoError(f"{prefix}{error}; --on-error skip skips such videos") from None
            raise ImageError(f"{error}; --on-error skip skips such files") from None
        finally:
            self.waited_s += time.perf_counter() - start

    def _batch(self, rows: Sequence[Row]) -> Batch:
        masks = [frame.mask for _, clip in rows for frame in clip.targets if frame.mask is not None]
        are_videos = rows[0][0].item.is_video
        return Batch(
            pixels=stack([clip_pixels(clip) for _, clip in rows]),
            samples=[sample for sample, _ in rows],
            masks=np.stack(masks) if self.masks else None,
            frames=np.array([described_frames(clip) for _, clip in rows], np.int64) if are_videos else None,
        )


def clip_pixels(clip: Clip[ResizedFrame]) -> np.ndarray:
    """Return (C, H, W) for an image or a clip of one frame, (C, T, H, W) for several frames."""
    return join_frames([frame.pixels for frame in clip.frames])


def join_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (C, H, W) -> (C, H, W) for one frame, (C, T, H, W) for several."""
    return frames[0] if len(frames) == 1 else np.stack(frames, axis=1)


def described_frames(clip: Clip[F]) -> list[int]:
    """Return the K frame indices that a clip's scores belong to; for a whole-clip score the first and last frame."""
    return [frame.index for frame in clip.targets or (clip.frames[0], clip.frames[-1])]
