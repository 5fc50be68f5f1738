"""What training draws its batches from: samples in an order that the seed and the epoch decide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from offnormal.data.batches import Batch, Batches, join_frames
from offnormal.data.dataset import Skipped
from offnormal.training.rows import Rows
from offnormal.types import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One pass over the samples in random order, in whole batches; a pure function of seed and epoch.

    What is left over of the last batch is not used in this epoch, unless there is no whole batch at all. Of every
    batch a rank takes its share alone.
    """

    seed: int
    epoch: int
    batch_size: int
    skip: int = 0  # batches of this epoch that were used before a resume
    rank: int = 0
    ranks: int = 1

    def batches(self, samples: int) -> int:
        """Batches of an epoch over so many samples."""
        return max(1, samples // self.batch_size)

    def permutation(self, count: int) -> np.ndarray:
        """(count,) numbers in the random order of this epoch."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(count)

    def rows(self, samples: int) -> Iterator[tuple[np.ndarray, int]]:
        """For each batch that is to come, the samples (n,) that this rank takes, and the number in the whole batch."""
        order = self.permutation(samples)
        for number in range(self.skip, self.batches(samples)):
            whole = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield whole[self.rank :: self.ranks], len(whole)


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """What one rank gets of a batch."""

    pixels: Tensor  # (n, C, H, W) or (n, C, T, H, W): uint8, or float32 in 0-1
    samples: list[Sample]
    whole: int  # samples in the batch over all ranks


class Source(ABC):
    """Samples to train on or to validate with; can be given to other processes."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""

    @abstractmethod
    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order."""

    def spread(self, count: int) -> Source:
        """At most so many of them, evenly spread; all of them where one cannot be had without those before it."""
        return self

    def during(self, *, late: bool) -> Source:
        """What an epoch draws from; late: in which parts learn that learn only late."""
        return self

    def shared_by_all(self) -> None:
        """Hear that every process that is to use them has them."""
        return

    def close(self) -> None:
        """Free what they are kept in."""
        return


@dataclass(slots=True, eq=False)
class Kept(Source):
    """Samples of which every frame was decoded once and is kept; clips share their frames."""

    rows: Rows
    places: np.ndarray  # (N, T) number of each frame of each sample among the rows
    samples: list[Sample]
    frames: np.ndarray | None = None  # (N, K) as in Batch

    def __len__(self) -> int:
        return len(self.samples)

    def pixels(self, chosen: Sequence[int] | np.ndarray) -> Tensor:
        """Pixels (n, C, H, W) or (n, C, T, H, W) of the samples of these numbers: uint8, or float32 in 0-1."""
        return stack_raw([join_frames([self.rows[place] for place in self.places[number]]) for number in chosen])

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""
        for chosen, whole in order.rows(len(self)):
            yield Portion(self.pixels(chosen), [self.samples[number] for number in chosen], whole)

    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order."""
        return KeptBatches(self, batch_size)

    def spread(self, count: int) -> Self:
        """At most so many of them, evenly spread."""
        return self.chosen(evenly(len(self), count))

    def chosen(self, numbers: Sequence[int] | np.ndarray) -> Self:
        """The samples of these numbers, of the same rows."""
        return replace(
            self,
            places=self.places[numbers],
            samples=[self.samples[number] for number in numbers],
            frames=None if self.frames is None else self.frames[numbers],
        )

    def shared_by_all(self) -> None:
        """Hear that every process that is to use them has them."""
        self.rows.shared_by_all()

    def close(self) -> None:
        """Free what they are kept in."""
        self.rows.close()


class KeptBatches:
    """Batches of kept samples in their own order, as a ImageLoader would give them."""

    def __init__(self, kept: Kept, batch_size: int) -> None:
        self.kept = kept
        self.batch_size = batch_size
        self.skipped: list[Skipped] = []
        self.waited_s = 0.0
        self.sample_count = 0

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[Batch]:
        self.sample_count = 0
        kept = self.kept
        for start in range(0, len(kept), self.batch_size):
            stop = min(start + self.batch_size, len(kept))
            self.sample_count += stop - start
            frames = None if kept.frames is None else kept.frames[start:stop]
            pixels = to_unit(kept.pixels(range(start, stop))).numpy()
            yield Batch(pixels, kept.samples[start:stop], None, frames)

    def with_groups(self, groups: Set[str | None]) -> Self:
        """The same over the samples of these groups alone."""
        numbers = [number for number, sample in enumerate(self.kept.samples) if sample.group in groups]
        return type(self)(self.kept.chosen(numbers), self.batch_size)


def evenly(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of `count` numbers, evenly spread.

    >>> evenly(10, 4), evenly(3, 4)
    (array([1, 3, 6, 8]), array([0, 1, 2]))
    """
    wanted = min(count, wanted)
    return np.asarray((np.arange(wanted) * 2 + 1) * count // (2 * max(1, wanted)))


def stack_raw(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape -> (n, ...) uint8 when all are, else float32 in 0-1; one after the other in memory."""
    whole = all(array.dtype == np.uint8 for array in arrays)
    stacked = np.empty((len(arrays), *arrays[0].shape), np.uint8 if whole else np.float32)
    for number, array in enumerate(arrays):
        stacked[number] = array if whole or array.dtype != np.uint8 else array.astype(np.float32) / 255
    return torch.from_numpy(stacked)


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 or float32 in 0-1 -> float32 in 0-1, on the device where it lies."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
