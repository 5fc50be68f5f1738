"""Sources of training batches: samples in an order that only the seed and the epoch determine."""

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
    """One pass over the samples in random order, in whole batches; determined by seed and epoch.

    The remainder of the last batch is not used in this epoch, unless there is no whole batch at all. Each rank takes
    its share of every batch.
    """

    seed: int
    epoch: int
    batch_size: int
    skip: int = 0  # batches of this epoch that were trained on before a resume
    rank: int = 0
    ranks: int = 1

    def batches(self, samples: int) -> int:
        """Return the number of batches of an epoch."""
        return max(1, samples // self.batch_size)

    def permutation(self, count: int) -> np.ndarray:
        """Return the numbers below `count` in the random order of this epoch, (count,)."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(count)

    def rows(self, samples: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the sample numbers (n,) of this rank for each remaining batch, and the size of the whole batch."""
        order = self.permutation(samples)
        for number in range(self.skip, self.batches(samples)):
            whole = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield whole[self.rank :: self.ranks], len(whole)


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """One rank's share of a batch."""

    pixels: Tensor  # (n, C, H, W) or (n, C, T, H, W): uint8, or float32 in 0-1
    samples: list[Sample]
    whole: int  # samples in the batch over all ranks


class Source(ABC):
    """Samples for training or validation; picklable."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the portions of one pass in random order."""

    @abstractmethod
    def loader(self, batch_size: int) -> Batches:
        """Return the samples in fixed order."""

    def spread(self, count: int) -> Source:
        """Return at most `count` samples, evenly spaced; all of them if they can only be read in sequence."""
        return self

    def stage_source(self, *, fine_tuning: bool) -> Source:
        """Return what an epoch draws from; fine_tuning: whether it belongs to the fine-tuning stage."""
        return self

    def mark_shared(self) -> None:
        """Called once all processes have opened the samples."""
        return

    def close(self) -> None:
        """Free the storage."""
        return


@dataclass(slots=True, eq=False)
class StoredSamples(Source):
    """Samples whose frames are decoded once and stored; clips share their frames."""

    rows: Rows
    row_numbers: np.ndarray  # (N, T) row of each frame of each sample
    samples: list[Sample]
    frames: np.ndarray | None = None  # (N, K) as in Batch

    def __len__(self) -> int:
        return len(self.samples)

    def pixels(self, chosen: Sequence[int] | np.ndarray) -> Tensor:
        """Return the pixels of samples by number, (n, C, H, W) or (n, C, T, H, W): uint8, or float32 in 0-1."""
        return stack_raw([join_frames([self.rows[row] for row in self.row_numbers[number]]) for number in chosen])

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the portions of one pass in random order."""
        for chosen, whole in order.rows(len(self)):
            yield Portion(self.pixels(chosen), [self.samples[number] for number in chosen], whole)

    def loader(self, batch_size: int) -> Batches:
        """Return the samples in fixed order."""
        return StoredBatches(self, batch_size)

    def spread(self, count: int) -> Self:
        """Return at most `count` samples, evenly spaced."""
        return self.select(evenly(len(self), count))

    def select(self, numbers: Sequence[int] | np.ndarray) -> Self:
        """Return the samples of these numbers; the rows are shared."""
        return replace(
            self,
            row_numbers=self.row_numbers[numbers],
            samples=[self.samples[number] for number in numbers],
            frames=None if self.frames is None else self.frames[numbers],
        )

    def mark_shared(self) -> None:
        """Called once all processes have opened the samples."""
        self.rows.mark_shared()

    def close(self) -> None:
        """Free the storage."""
        self.rows.close()


class StoredBatches:
    """Batches of stored samples in fixed order, with the interface of a loader."""

    def __init__(self, stored: StoredSamples, batch_size: int) -> None:
        self.stored = stored
        self.batch_size = batch_size
        self.skipped: list[Skipped] = []
        self.waited_s = 0.0
        self.sample_count = 0

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[Batch]:
        self.sample_count = 0
        stored = self.stored
        for start in range(0, len(stored), self.batch_size):
            stop = min(start + self.batch_size, len(stored))
            self.sample_count += stop - start
            frames = None if stored.frames is None else stored.frames[start:stop]
            pixels = to_unit(stored.pixels(range(start, stop))).numpy()
            yield Batch(pixels, stored.samples[start:stop], None, frames)

    def with_groups(self, groups: Set[str | None]) -> Self:
        """Return batches of only the samples in these groups."""
        numbers = [number for number, sample in enumerate(self.stored.samples) if sample.group in groups]
        return type(self)(self.stored.select(numbers), self.batch_size)


def evenly(count: int, limit: int) -> np.ndarray:
    """Return at most `limit` of the numbers below `count`, evenly spaced.

    >>> evenly(10, 4), evenly(3, 4)
    (array([1, 3, 6, 8]), array([0, 1, 2]))
    """
    limit = min(count, limit)
    return np.asarray((np.arange(limit) * 2 + 1) * count // (2 * max(1, limit)))


def stack_raw(arrays: Sequence[np.ndarray]) -> Tensor:
    """Stack arrays of one shape into contiguous (n, ...): uint8 if all are, else float32 in 0-1."""
    whole = all(array.dtype == np.uint8 for array in arrays)
    stacked = np.empty((len(arrays), *arrays[0].shape), np.uint8 if whole else np.float32)
    for number, array in enumerate(arrays):
        stacked[number] = array if whole or array.dtype != np.uint8 else array.astype(np.float32) / 255
    return torch.from_numpy(stacked)


def to_unit(pixels: Tensor) -> Tensor:
    """Convert uint8, or float32 in 0-1, to float32 in 0-1 on the same device."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
