"""The first pass over the samples: each frame is decoded and resized once and kept, where there is room.

Where there is none, every epoch decodes them anew.
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
from offnormal.training.samples import Kept, Order, Portion, Source, evenly, stack_raw
from offnormal.types import Sample

log = logging.getLogger(__name__)

_BUFFER_BYTES = 256 << 20  # of frames whose clips are shuffled among each other


@dataclass(slots=True, kw_only=True)
class Room:
    """Where samples may be kept, and how much of it is left."""

    cache: CacheKind
    folder: Path  # of files
    shared: bool = False  # several processes are to use them: they then lie in a file in any case
    left: int | None = None  # bytes; None: as `frame_cache.RAM_BYTES` says, or, of files, as the disk says

    def __post_init__(self) -> None:
        if self.left is None and self.cache == "ram":
            self.left = frame_cache.RAM_BYTES

    def rows(self) -> Rows | None:
        """A new place for frames; None when none are to be kept."""
        if self.cache == "off":
            return None
        return FileRows(self.folder, shared=self.shared) if self.cache == "disk" or self.shared else RamRows()


def gather(loader: Loader, room: Room) -> tuple[Source, list[Skipped]]:
    """The samples of a loader, kept where there is room for all, else read anew in each epoch; and its bad files.

    Raises DataError when not one can be read.
    """
    found = _Found(room.rows())
    try:
        with contextlib.closing(loader.iter_samples()) as rows:
            for sample, clip in rows:
                found.samples.append(sample)
                if sample.item.is_video:
                    found.targets.append(described_frames(clip))
                if found.rows is not None:
                    _keep(found, (sample, clip), loader, room)
                if found.rows is None and isinstance(loader, ImageLoader) and loader.on_error == "fail":
                    return _StreamedPictures(loader.without_progress()), []  # of which all is known
    except BaseException:
        found.drop()
        raise
    bad = {one.path for one in loader.skipped}
    whole = [i for i, sample in enumerate(found.samples) if sample.item.path not in bad]  # no video that broke off
    if not whole:
        found.drop()
        raise DataError(f"none of the normal samples can be read, the first: {loader.skipped[0].reason}")
    samples = [found.samples[number] for number in whole]
    if found.rows is not None:
        if room.left is not None:
            room.left -= found.rows.nbytes
        frames_of = np.array(found.targets)[whole] if found.targets else None
        return Kept(found.rows, np.array(found.places)[whole], samples, frames_of), list(loader.skipped)
    if isinstance(loader, ImageLoader):
        pictures = loader.without_progress().with_items([sample.item for sample in samples])
        pictures.on_error = "fail"  # every process must get the same ones
        return _StreamedPictures(pictures), list(loader.skipped)
    videos = loader.without_progress()
    videos.items = [video for video in videos.items if video.path not in bad]
    return _StreamedVideos(videos, len(samples)), list(loader.skipped)


@dataclass(slots=True)
class _Found:
    """What the pass has given so far."""

    rows: Rows | None  # None: nothing is kept
    samples: list[Sample] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)  # of clips
    places: list[list[int]] = field(default_factory=list)  # rows of the frames of each sample
    known: dict[tuple[str, int], int] = field(default_factory=dict)  # address and frame -> row

    def drop(self) -> None:
        """Keep nothing from now on."""
        if self.rows is not None:
            self.rows.close()
            self.rows = None


def _keep(found: _Found, row: Row, loader: Loader, room: Room) -> None:
    """Keep the frames of a sample that are not kept yet, or give up keeping."""
    rows, (sample, clip) = found.rows, row
    assert rows is not None
    frames = {(sample.item.address, frame.index): frame.pixels for frame in clip.frames}
    try:
        for key, pixels in frames.items():
            if key not in found.known:
                found.known[key] = rows.add(pixels)
    except OSError as error:
        log.warning("%s: samples cannot be kept there (%s): they are decoded anew in every epoch", room.folder, error)
        found.drop()
        return
    found.places.append([found.known[sample.item.address, frame.index] for frame in clip.frames])
    known = isinstance(loader, ImageLoader)  # how many there are
    expected = rows.nbytes * (len(loader) / len(found.samples) if known else 1)
    if room.left is not None and expected > room.left:
        found.drop()
        log.warning(
            "the samples do not fit into the %.1f GB where they are to be kept: they are decoded anew in every epoch; "
            "a cache on disk has more room (--cache disk)",
            room.left / 2**30,
        )


@dataclass(slots=True, eq=False)
class _Streamed(Source):
    """Samples that are too many to keep: decoded anew in every epoch, by threads that run ahead."""

    base: Loader

    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order."""
        reader = copy.copy(self.base)
        reader.batch_size = batch_size
        return reader


@dataclass(slots=True, eq=False)
class _StreamedPictures(_Streamed):
    """Pictures read in the random order itself; each rank reads those of its own alone."""

    base: ImageLoader  # over pictures that can all be read

    def __len__(self) -> int:
        return len(self.base.items)

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""
        plan = list(order.rows(len(self)))
        reader = self.base.with_items(
            [self.base.items[number] for number in chain.from_iterable(rows for rows, _ in plan)]
        )
        with contextlib.closing(reader.iter_samples()) as read:
            for rows, whole in plan:
                found = [next(read) for _ in rows]
                pixels = stack_raw([clip_pixels(clip) for _, clip in found])
                yield Portion(pixels, [sample for sample, _ in found], whole)

    def spread(self, count: int) -> Source:
        """At most so many of them, evenly spread."""
        return _StreamedPictures(self.base.with_items([self.base.items[number] for number in evenly(len(self), count)]))


@dataclass(slots=True, eq=False)
class _StreamedVideos(_Streamed):
    """Clips of videos in random order, shuffled further in a buffer of bounded size; every rank reads all videos."""

    count: int  # clips in a pass

    def __len__(self) -> int:
        return self.count

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""
        reader = copy.copy(self.base)
        reader.items = [self.base.items[number] for number in order.permutation(len(self.base.items))]
        with contextlib.closing(reader.iter_samples()) as read:
            clips = self._shuffled(read, np.random.default_rng((order.seed, order.epoch, 1)))
            for number in range(order.batches(self.count)):
                whole = list(islice(clips, order.batch_size))
                if not whole or (number and len(whole) < order.batch_size):
                    raise DataError(
                        f"the videos gave {self.count} clips before and fewer now: did they change while they were "
                        "learned from?"
                    )
                if number < order.skip:
                    continue
                mine = whole[order.rank :: order.ranks]
                pixels = stack_raw([clip_pixels(clip) for _, clip in mine])
                yield Portion(pixels, [sample for sample, _ in mine], len(whole))

    def _shuffled(
        self, clips: Iterator[tuple[Sample, Clip[ResizedFrame]]], rng: np.random.Generator
    ) -> Iterator[tuple[Sample, Clip[ResizedFrame]]]:
        """Each clip takes the place of a random one of the buffer; clips share the frames they have in common."""
        held: list[tuple[Sample, Clip[ResizedFrame]]] = []
        for found in clips:
            frame = found[1].frames[0].pixels.nbytes
            if len(held) < max(2, _BUFFER_BYTES // (frame * min(self.base.spec.hop, self.base.spec.frames))):
                held.append(found)
                continue
            place = int(rng.integers(len(held)))
            yield held[place]
            held[place] = found
        for place in rng.permutation(len(held)):
            yield held[place]
