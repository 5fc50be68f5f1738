"""Samples that are too many to keep: decoded anew in every epoch, by threads that run ahead."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from offnormal.data.batches import Batches, Loader, clip_pixels
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.loaders import ImageLoader
from offnormal.errors import DataError
from offnormal.training.samples import Order, Portion, Source, evenly, stack_raw
from offnormal.types import Sample

_BUFFER_BYTES = 256 << 20  # of frames whose clips are shuffled among each other


@dataclass(slots=True, eq=False)
class StreamedPictures(Source):
    """Pictures read in the random order itself; each rank reads those of its own alone."""

    base: ImageLoader  # over pictures that can all be read

    def __len__(self) -> int:
        return len(self.base.items)

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""
        plan = list(order.rows(len(self)))
        reader = self.base.over([self.base.items[number] for number in chain.from_iterable(rows for rows, _ in plan)])
        with contextlib.closing(reader.iter_samples()) as read:
            for rows, whole in plan:
                found = [next(read) for _ in rows]
                pixels = stack_raw([clip_pixels(clip) for _, clip in found])
                yield Portion(pixels, [sample for sample, _ in found], whole)

    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order."""
        reader = copy.copy(self.base)
        reader.batch_size = batch_size
        return reader

    def spread(self, count: int) -> Source:
        """At most so many of them, evenly spread."""
        return StreamedPictures(self.base.over([self.base.items[number] for number in evenly(len(self), count)]))


@dataclass(slots=True, eq=False)
class StreamedVideos(Source):
    """Clips of videos in random order, shuffled further in a buffer of bounded size; every rank reads all videos."""

    base: Loader
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
                        "learnt from?"
                    )
                if number < order.skip:
                    continue
                mine = whole[order.rank :: order.ranks]
                pixels = stack_raw([clip_pixels(clip) for _, clip in mine])
                yield Portion(pixels, [sample for sample, _ in mine], len(whole))

    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order."""
        reader = copy.copy(self.base)
        reader.batch_size = batch_size
        return reader

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
