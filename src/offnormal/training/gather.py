"""The first pass over the samples: decodes and resizes each frame once and stores it.

Samples that do not fit into the storage are decoded again in every epoch.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from offnormal.data import frame_cache
from offnormal.data.batches import Batches, Loader, Row, clip_pixels, described_frames
from offnormal.data.clips import Clip
from offnormal.data.dataset import Skipped
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import CacheKind
from offnormal.errors import DataError
from offnormal.training.rows import FileRows, RamRows, Rows
from offnormal.training.samples import Order, Portion, Source, StoredSamples, evenly, stack_raw
from offnormal.types import Sample

log = logging.getLogger(__name__)

_BUFFER_BYTES = 256 << 20  # of frames in the shuffle buffer of clips


@dataclass(slots=True, kw_only=True)
class Storage:
    """Where samples may be stored, and how many bytes are free."""

    cache: CacheKind
    folder: Path  # for files
    shared: bool = False  # several processes read the samples, which are then stored in a file in any case
    free_bytes: int | None = None  # None: `frame_cache.RAM_BYTES` in memory, the free disk space for files

    def __post_init__(self) -> None:
        if self.free_bytes is None and self.cache == "ram":
            self.free_bytes = frame_cache.RAM_BYTES

    def new_rows(self) -> Rows | None:
        """Return an empty store of frames; None if frames are not stored."""
        if self.cache == "off":
            return None
        return FileRows(self.folder, shared=self.shared) if self.cache == "disk" or self.shared else RamRows()


def gather(loader: Loader, storage: Storage) -> tuple[Source, list[Skipped]]:
    """Return the samples of a loader and its unreadable files; samples that do not fit are read again in each epoch.

    Raises DataError if no sample can be read.
    """
    gathered = _Gathered(storage.new_rows())
    try:
        with contextlib.closing(loader.iter_samples()) as rows:
            for sample, clip in rows:
                gathered.samples.append(sample)
                if sample.item.is_video:
                    gathered.targets.append(described_frames(clip))
                if gathered.rows is not None:
                    _store(gathered, (sample, clip), loader, storage)
                if gathered.rows is None and isinstance(loader, ImageLoader) and loader.on_error == "fail":
                    return _StreamedImages(loader.without_progress()), []  # nothing can be skipped: the count is known
    except BaseException:
        gathered.drop()
        raise
    bad = {skip.path for skip in loader.skipped}
    whole = [i for i, sample in enumerate(gathered.samples) if sample.item.path not in bad]  # read to the end
    if not whole:
        gathered.drop()
        raise DataError(f"no normal sample could be read; the first error: {loader.skipped[0].reason}")
    samples = [gathered.samples[number] for number in whole]
    if gathered.rows is not None:
        if storage.free_bytes is not None:
            storage.free_bytes -= gathered.rows.nbytes
        frames_of = np.array(gathered.targets)[whole] if gathered.targets else None
        row_numbers = np.array(gathered.row_numbers)[whole]
        return StoredSamples(gathered.rows, row_numbers, samples, frames_of), list(loader.skipped)
    if isinstance(loader, ImageLoader):
        images = loader.without_progress().with_items([sample.item for sample in samples])
        images.on_error = "fail"  # every process must get the same images
        return _StreamedImages(images), list(loader.skipped)
    videos = loader.without_progress()
    videos.items = [video for video in videos.items if video.path not in bad]
    return _StreamedVideos(videos, len(samples)), list(loader.skipped)


@dataclass(slots=True)
class _Gathered:
    """The results of the pass so far."""

    rows: Rows | None  # None: nothing is stored
    samples: list[Sample] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)  # of clips
    row_numbers: list[list[int]] = field(default_factory=list)  # of the frames of each sample
    row_of: dict[tuple[str, int], int] = field(default_factory=dict)  # address and frame -> row number

    def drop(self) -> None:
        """Stop storing frames."""
        if self.rows is not None:
            self.rows.close()
            self.rows = None


def _store(gathered: _Gathered, row: Row, loader: Loader, storage: Storage) -> None:
    """Store the new frames of a sample; stop storing if they do not fit."""
    rows, (sample, clip) = gathered.rows, row
    assert rows is not None
    frames = {(sample.item.address, frame.index): frame.pixels for frame in clip.frames}
    try:
        for key, pixels in frames.items():
            if key not in gathered.row_of:
                gathered.row_of[key] = rows.add(pixels)
    except OSError as error:
        log.warning("%s: cannot store samples (%s); they are decoded again in every epoch", storage.folder, error)
        gathered.drop()
        return
    gathered.row_numbers.append([gathered.row_of[sample.item.address, frame.index] for frame in clip.frames])
    has_count = isinstance(loader, ImageLoader)
    expected = rows.nbytes * (len(loader) / len(gathered.samples) if has_count else 1)
    if storage.free_bytes is not None and expected > storage.free_bytes:
        gathered.drop()
        log.warning(
            "the samples do not fit into %.1f GB; they are decoded again in every epoch. The disk may have more room: "
            "--cache disk",
            storage.free_bytes / 2**30,
        )


@dataclass(slots=True, eq=False)
class _Streamed(Source):
    """Samples that are too many to store; prefetch threads decode them again in every epoch."""

    base: Loader

    def loader(self, batch_size: int) -> Batches:
        """Return the samples in fixed order."""
        reader = copy.copy(self.base)
        reader.batch_size = batch_size
        return reader


@dataclass(slots=True, eq=False)
class _StreamedImages(_Streamed):
    """Images, read in random order; each rank reads only its share."""

    base: ImageLoader  # all its images are readable

    def __len__(self) -> int:
        return len(self.base.items)

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the portions of one pass in random order."""
        plan = list(order.rows(len(self)))
        numbers = chain.from_iterable(rows for rows, _ in plan)
        reader = self.base.with_items([self.base.items[number] for number in numbers])
        with contextlib.closing(reader.iter_samples()) as reading:
            for rows, whole in plan:
                clips = [next(reading) for _ in rows]
                pixels = stack_raw([clip_pixels(clip) for _, clip in clips])
                yield Portion(pixels, [sample for sample, _ in clips], whole)

    def spread(self, count: int) -> Source:
        """Return at most `count` samples, evenly spaced."""
        return _StreamedImages(self.base.with_items([self.base.items[number] for number in evenly(len(self), count)]))


@dataclass(slots=True, eq=False)
class _StreamedVideos(_Streamed):
    """Clips of shuffled videos, shuffled further in a buffer of bounded size; every rank reads all videos."""

    count: int  # clips in a pass

    def __len__(self) -> int:
        return self.count

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the portions of one pass in random order."""
        reader = copy.copy(self.base)
        reader.items = [self.base.items[number] for number in order.permutation(len(self.base.items))]
        with contextlib.closing(reader.iter_samples()) as reading:
            clips = self._shuffled(reading, np.random.default_rng((order.seed, order.epoch, 1)))
            for number in range(order.batches(self.count)):
                whole = list(islice(clips, order.batch_size))
                if not whole or (number and len(whole) < order.batch_size):
                    raise DataError(
                        f"fewer clips than the {self.count} of the first pass: a video changed during the fit; start "
                        "a new fit"
                    )
                if number < order.skip:
                    continue
                share = whole[order.rank :: order.ranks]
                pixels = stack_raw([clip_pixels(clip) for _, clip in share])
                yield Portion(pixels, [sample for sample, _ in share], len(whole))

    def _shuffled(
        self, clips: Iterator[tuple[Sample, Clip[ResizedFrame]]], rng: np.random.Generator
    ) -> Iterator[tuple[Sample, Clip[ResizedFrame]]]:
        """Yield a random clip of the buffer for each new one; clips share the frames that they have in common."""
        buffer: list[tuple[Sample, Clip[ResizedFrame]]] = []
        for entry in clips:
            frame = entry[1].frames[0].pixels.nbytes
            if len(buffer) < max(2, _BUFFER_BYTES // (frame * min(self.base.spec.hop, self.base.spec.frames))):
                buffer.append(entry)
                continue
            index = int(rng.integers(len(buffer)))
            yield buffer[index]
            buffer[index] = entry
        for index in rng.permutation(len(buffer)):
            yield buffer[index]
