"""Batches of pixels, and what loaders of images and of videos share."""

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
from offnormal.data.video_reading import Ended
from offnormal.errors import ImageError, VideoError
from offnormal.types import InputSpec, Item, Sample

OnError = Literal["fail", "skip"]
Row = tuple[Sample, Clip[ResizedFrame]]  # an image is a clip of one frame
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Pixels of N images or clips with what is known of them."""

    pixels: np.ndarray  # (N, C, H, W), of clips (N, C, T, H, W), float32 in 0-1
    samples: list[Sample]
    masks: np.ndarray | None  # (N * K, H, W) bool at input size, one for each score; None when not asked for
    frames: np.ndarray | None = None  # (N, K) frames that the scores describe, see VideoLoader; None for images


class Batches(Protocol):
    """What is learned from and scored: a loader, or samples that are kept."""

    batch_size: int
    skipped: list[Skipped]  # bad files of the last pass
    waited_s: float  # seconds its user waited for data in the last pass
    given: int  # samples given in the last pass

    def __len__(self) -> int:
        """Number of samples, or a little more where the data do not say it beforehand."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...

    def only(self, groups: Set[str | None]) -> Self:
        """The same over the samples of these groups alone, without progress."""
        ...


class Loader(ABC):
    """Iterates batches of items, read by threads in advance, in their order; pass over it as often as needed.

    on_error: "fail" raises ImageError or VideoError at a bad file, "skip" skips and lists it. progress: called with the
    number of further items (of videos: clips) that are done.
    Attributes: `skipped` (bad files of the last pass), `ended` (the videos that are not in `skipped`, once their last
    clip was taken), `waited_s` (seconds its user waited for data in that pass), `given` (samples in it).
    """

    every_s: float | None = None  # seconds between two clips of a video; None: as the input says

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
        self._reset()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples, bad ones included, or at most so many where the data do not say it beforehand."""

    @abstractmethod
    def groups(self) -> list[str]:
        """Every group that a sample may be of, in the order of the items."""

    @abstractmethod
    def only(self, groups: Set[str | None], *, apart: bool = False) -> Self:
        """A loader over the samples of these groups alone, otherwise the same but without progress.

        apart: without the clips that begin in another group, where a video is cut.
        """

    @abstractmethod
    def _rows(self) -> Generator[Row, None, None]:
        """One pass; bad files go through `_next`."""

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
        """One pass, sample by sample, with the frames at input size."""
        self._reset()
        with contextlib.closing(self._rows()) as rows:
            for row in rows:
                self.given += 1
                yield row

    def over(self, items: Sequence[Item]) -> Self:
        """A loader over these items, of whatever group, otherwise the same."""
        other = copy.copy(self)
        other.items = list(items)
        other._reset()
        return other

    def silent(self) -> Self:
        """The same without progress, which belongs to one pass and cannot go to other processes."""
        other = copy.copy(self)
        other.progress = None
        other._reset()
        return other

    def _reset(self) -> None:
        self.skipped: list[Skipped] = []
        self.ended: list[Ended] = []
        self.waited_s = 0.0
        self.given = 0

    def _count(self) -> None:
        if self.progress is not None:
            self.progress(1)

    def _next(self, item: Item, take: Callable[[], T]) -> T | None:
        """What `take` returns, the wait for it measured; None where the item is bad and skipped."""
        start = time.perf_counter()
        try:
            return take()
        except (VideoError, ImageError) as error:
            if self.on_error == "skip":
                self.skipped.append(Skipped(item.path, str(error)))
                return None
            if item.is_video:
                named = "" if item.address in str(error) else f"video {item.name}: "
                raise VideoError(f"{named}{error}; or leave such videos out with --on-error skip") from None
            raise ImageError(f"{error}; or leave such files out with --on-error skip") from None
        finally:
            self.waited_s += time.perf_counter() - start

    def _batch(self, rows: Sequence[Row]) -> Batch:
        masks = [frame.mask for _, clip in rows for frame in clip.targets if frame.mask is not None]
        of_videos = rows[0][0].item.is_video
        return Batch(
            pixels=stack([clip_pixels(clip) for _, clip in rows]),
            samples=[sample for sample, _ in rows],
            masks=np.stack(masks) if self.masks else None,
            frames=np.array([described_frames(clip) for _, clip in rows], np.int64) if of_videos else None,
        )


def clip_pixels(clip: Clip[ResizedFrame]) -> np.ndarray:
    """(C, H, W) of an image or a clip of one frame, (C, T, H, W) of several."""
    return join_frames([frame.pixels for frame in clip.frames])


def join_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (C, H, W) -> (C, H, W) of one, (C, T, H, W) of several."""
    return frames[0] if len(frames) == 1 else np.stack(frames, axis=1)


def described_frames(clip: Clip[F]) -> list[int]:
    """The K frames that the scores of a clip describe; of a clip as a whole its first and last frame."""
    return [frame.index for frame in clip.targets or (clip.frames[0], clip.frames[-1])]
