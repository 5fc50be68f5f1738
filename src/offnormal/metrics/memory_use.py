"""Which items of a detector's memory normal and anomalous samples draw on, gathered batch by batch. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.types import ANOMALOUS, NORMAL

_USED = 1e-4  # of all that is recalled: less than that of an item does not count as used


@dataclass(frozen=True, slots=True, eq=False)
class MemoryShares:
    """Of M items the share that each has in what was recalled, (M,) adding up to 1, or to 0 where there was nothing."""

    normal: np.ndarray
    anomalous: np.ndarray

    def used(self, shares: np.ndarray) -> int:
        """How many items have more than a ten-thousandth of all shares."""
        return int((shares > _USED).sum())

    @property
    def overlap(self) -> float:
        """Between 0, no item in common, and 1, the same shares: the sum of the smaller of both."""
        return float(np.minimum(self.normal, self.anomalous).sum())


class MemoryUse:
    """Adds up what samples with labels recall.

    >>> use = MemoryUse()
    >>> use.update(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]), [0, 1, None])
    >>> found = use.compute()
    >>> found.normal.tolist(), found.anomalous.tolist(), found.overlap
    ([1.0, 0.0], [0.5, 0.5], 0.5)
    """

    def __init__(self) -> None:
        self._sums: dict[int, np.ndarray] = {}

    def update(self, recalled: np.ndarray, labels: Sequence[int | None]) -> None:
        """Add samples: (N, M) shares of the items, and what is known of each sample."""
        for label in (NORMAL, ANOMALOUS):
            rows = recalled[[found == label for found in labels]].sum(0, dtype=np.float64)
            self._sums[label] = self._sums[label] + rows if label in self._sums else rows

    def merge(self, other: MemoryUse) -> None:
        """Add what another gathered."""
        for label, rows in other._sums.items():
            self._sums[label] = self._sums[label] + rows if label in self._sums else rows

    def compute(self) -> MemoryShares | None:
        """The shares; None when no sample was given."""
        if not self._sums:
            return None
        normal, anomalous = (self._sums[label] / max(self._sums[label].sum(), 1e-12) for label in (NORMAL, ANOMALOUS))
        return MemoryShares(normal, anomalous)
