"""One axis for scores: straight, or bent where they differ so widely that a straight one would hide most of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_WIDE = 30.0  # highest to lowest, or range to quartile spread, from which on the axis is bent
_DEEPEST = 1e-4  # of the median: a logarithmic axis goes no lower, one stray score near 0 would stretch it


@dataclass(frozen=True, slots=True)
class ScoreAxis:
    """Where scores lie between the two ends of an axis; what lies beyond an end is drawn at it."""

    kind: Literal["linear", "log", "asinh"]
    low: float
    high: float
    bend: float = 1.0  # asinh: scores nearer to 0 than this are spaced evenly

    def position(self, scores: np.ndarray) -> NDArray[np.float64]:
        """Scores (R,) -> places (R,) from 0 at the low end to 1 at the high one.

        >>> ScoreAxis("log", 1, 100).position(np.array([1, 10, 1000])).tolist()
        [0.0, 0.5, 1.0]
        """
        low, high = self._bent(np.array([self.low, self.high]))
        inside = np.clip(np.asarray(scores, dtype=np.float64), self.low, self.high)
        return np.asarray((self._bent(inside) - low) / (high - low))

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Edges (bins + 1,) of bins that look equally wide on this axis."""
        low, high = self._bent(np.array([self.low, self.high]))
        even = np.linspace(low, high, bins + 1)
        edges = np.asarray(self._straight(even))
        edges[0], edges[-1] = self.low, self.high
        return edges

    def ticks(self, most: int) -> list[float]:
        """At most so many round scores (1, 2 or 5 times a power of ten) for a bent axis, well apart on it.

        >>> ScoreAxis("log", 23, 722).ticks(8)
        [50.0, 100.0, 200.0, 500.0]
        """
        largest = max(abs(self.low), abs(self.high))
        powers = range(math.floor(math.log10(largest)), math.floor(math.log10(largest)) - 9, -1)
        inside = [0.0] if self.low <= 0 else []
        chosen: list[float] = []
        for steps in ((1,), (5, 2)):
            sizes = [step * 10.0**power for power in powers for step in steps]
            for value in (*inside, *sizes, *(-size for size in sizes)):
                if not self.low <= value <= self.high or len(chosen) == most:
                    continue
                places = self.position(np.array([value, *chosen]))
                if np.all(np.abs(places[1:] - places[0]) > 0.7 / most):
                    chosen.append(value)
        return sorted(chosen)

    def _bent(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.log(scores)
        return np.arcsinh(scores / self.bend) if self.kind == "asinh" else scores

    def _straight(self, bent: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.exp(bent)
        return np.sinh(bent) * self.bend if self.kind == "asinh" else bent


def axis_for(groups: Iterable[np.ndarray], threshold: float | None = None) -> ScoreAxis:
    """The axis that shows every score of several groups (R,) and the threshold; what is not finite is left aside.

    Logarithmic where positive scores span more than a factor of 30; asinh where they reach to 0 or below and span
    more than 30 times their quartiles; otherwise straight.
    """
    values = np.concatenate([np.zeros(0), *(np.asarray(group, dtype=np.float64) for group in groups)])
    values = values[np.isfinite(values)]
    seen = np.append(values, threshold) if threshold is not None and np.isfinite(threshold) else values
    if not seen.size:
        return ScoreAxis("linear", 0.0, 1.0)
    low, middle, high = float(seen.min()), float(np.median(seen)), float(seen.max())
    if low > 0 and high / low > _WIDE:
        return ScoreAxis("log", max(low, middle * _DEEPEST), high)
    spread = float(np.subtract(*np.percentile(seen, (75, 25))))
    if low <= 0 and spread > 0 and high - low > _WIDE * spread:
        return ScoreAxis("asinh", low, high, bend=spread)
    room = 0.02 * (high - low) or 0.05 * abs(high) or 1.0
    return ScoreAxis("linear", max(low - room, 0.0) if low >= 0 else low - room, high + room)
