"""Use of the items of a detector's memory by normal and anomalous samples, accumulated over batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.types import ANOMALOUS, NORMAL

_MIN_SHARE = 1e-4  # items with a smaller share count as unused


@dataclass(frozen=True, slots=True, eq=False)
class MemoryShares:
    """Share of each of M memory items in all recalls, (M,); sums to 1, or to 0 without recalls."""

    normal: np.ndarray
    anomalous: np.ndarray

    def used(self, shares: np.ndarray) -> int:
        """Number of items with a share above 1e-4."""
        return int((shares > _MIN_SHARE).sum())

    @property
    def overlap(self) -> float:
        """Sum of the smaller share of each item: 0 for no common items, 1 for equal shares."""
        return float(np.minimum(self.normal, self.anomalous).sum())


class MemoryUse:
    """Sums the memory recalls of labeled samples.

    >>> use = MemoryUse()
    >>> use.update(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]), [0, 1, None])
    >>> shares = use.compute()
    >>> shares.normal.tolist(), shares.anomalous.tolist(), shares.overlap
    ([1.0, 0.0], [0.5, 0.5], 0.5)
    """

    def __init__(self) -> None:
        self._sums: dict[int, np.ndarray] = {}

    def update(self, recalled: np.ndarray, labels: Sequence[int | None]) -> None:
        """Add samples: recalled (N, M) shares of the items, and N labels; None: unknown."""
        for label in (NORMAL, ANOMALOUS):
            rows = recalled[[sample_label == label for sample_label in labels]].sum(0, dtype=np.float64)
            self._sums[label] = self._sums[label] + rows if label in self._sums else rows

    def merge(self, use: MemoryUse) -> None:
        """Add the sums of another object."""
        for label, rows in use._sums.items():
            self._sums[label] = self._sums[label] + rows if label in self._sums else rows

    def compute(self) -> MemoryShares | None:
        """Compute the shares; None without samples."""
        if not self._sums:
            return None
        normal, anomalous = (self._sums[label] / max(self._sums[label].sum(), 1e-12) for label in (NORMAL, ANOMALOUS))
        return MemoryShares(normal, anomalous)
