"""Pixel scores counted in bins of bounded number, so fine where the metrics are made that little is lost.

The bins come from halving the 2^32 float32 numbers, in their order, again and again where many pixels lie. So
they reach from -infinity to +infinity whatever they were made from, a heavy single value gets a bin of its
own, and two histograms share enough edges to be added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offnormal.metrics.ranking import Steps

Float32Array = NDArray[np.float32]

_END = 1 << 32
_KEY_OF_MINUS_INFINITY, _KEY_OF_INFINITY = 0x007FFFFF, 0xFF800000
_TOP_FINENESS = 1000  # so much finer are bins at the highest normal scores than at the lowest, for AUPRO
_BELOW, _ABOVE = 1, 4  # even bins go on beyond the scores seen by so many times their range, for later ones


@dataclass(slots=True)
class Histogram:
    """Pixels and region weights per bin; bin i holds edges[i] <= score < edges[i + 1]."""

    edges: Float32Array  # (B,) rising, the first -infinity; the last bin is open above
    normal: NDArray[np.int64]  # (B,)
    anomalous: NDArray[np.int64]  # (B,)
    weight: NDArray[np.float64]  # (B,) sum of 1 / region size over the anomalous pixels
    lowest: float = float("inf")  # lowest score seen

    @classmethod
    def empty(cls, edges: Float32Array) -> Histogram:
        """A histogram without pixels."""
        return cls(edges, np.zeros(edges.size, np.int64), np.zeros(edges.size, np.int64), np.zeros(edges.size))

    def add(self, normal: Float32Array, anomalous: Float32Array, region_size: NDArray[np.int32]) -> None:
        """Count normal scores (n,), sorted rising, and anomalous ones (a,) with their region sizes (a,)."""
        self.normal += np.diff(np.append(np.searchsorted(normal, self.edges), normal.size))
        at = np.searchsorted(self.edges, anomalous, side="right") - 1
        self.anomalous += np.bincount(at, minlength=self.edges.size)
        self.weight += np.bincount(at, weights=1 / region_size, minlength=self.edges.size)
        for scores in (normal[:1], anomalous):
            self.lowest = min(self.lowest, float(scores.min(initial=np.inf)))

    def merged(self, other: Histogram) -> Histogram:
        """The sum of two histograms, on the edges that both have."""
        edges = np.intersect1d(self.edges, other.edges)
        result = Histogram.empty(edges)
        for part in (self, other):
            starts = np.searchsorted(part.edges, edges)
            result.normal += np.add.reduceat(part.normal, starts)
            result.anomalous += np.add.reduceat(part.anomalous, starts)
            result.weight += np.add.reduceat(part.weight, starts)
        result.lowest = min(self.lowest, other.lowest)
        return result

    def steps(self) -> Steps:
        """One step per bin with anomalous pixels; a bin that only one float32 number fits is not blurred."""
        through = np.cumsum(self.normal[::-1])[::-1]
        infinity = np.float32(np.inf)
        with np.errstate(over="ignore"):  # the number after the largest is infinity
            single = np.nextafter(self.edges, infinity) == np.append(self.edges[1:], infinity)
        used = np.flatnonzero(self.anomalous)[::-1]
        return Steps(
            score=np.maximum(self.edges, np.float32(self.lowest))[used],
            normal_above=(through - self.normal)[used],
            normal_through=through[used],
            anomalous=self.anomalous[used],
            weight=self.weight[used],
            blurred=~single[used],
            normals=int(self.normal.sum()),
        )


def bin_edges(normal: Float32Array, anomalous: Float32Array, bins: int) -> Float32Array:
    """Lower edges of at most `bins` bins that fit the scores; both arrays sorted rising, one may be empty.

    The bins are shared out in equal parts: by the number of normal pixels; by their number with the highest
    counting more; by the number of anomalous pixels; and evenly by value, from below the lowest score to
    well beyond the highest.
    """
    edges, filled = np.zeros(1, np.int64), np.zeros(1)
    while edges.size < bins:
        mass = np.diff(np.append(filled, _demand(np.array([np.inf], np.float32), normal, anomalous)))
        width = np.diff(np.append(edges, _END))
        mass[width == 1] = 0
        heaviest = mass.max()
        if heaviest <= 0:
            break
        heavy = np.flatnonzero(mass >= heaviest / 2)
        heavy = heavy[np.argsort(-mass[heavy], kind="stable")][: bins - edges.size]
        heavy.sort()
        middle = edges[heavy] + width[heavy] // 2
        filled = np.insert(filled, heavy + 1, _demand(_numbers(middle), normal, anomalous))
        edges = np.insert(edges, heavy + 1, middle)
    return np.unique(_numbers(edges))


def _demand(values: Float32Array, normal: Float32Array, anomalous: Float32Array) -> NDArray[np.float64]:
    """How much of the demand for bins lies below each value; rises with the value."""
    demand = np.zeros(values.size)
    if normal.size:
        above = 1 - np.searchsorted(normal, values) / normal.size
        demand += 1 - above
        demand += 1 - np.log1p(_TOP_FINENESS * above) / np.log1p(_TOP_FINENESS)
    if anomalous.size:
        demand += np.searchsorted(anomalous, values) / anomalous.size
    ends = [float(scores[end]) for scores in (normal, anomalous) if scores.size for end in (0, -1)]
    reach = max(ends) - min(ends) or max(abs(max(ends)), 1.0)
    place = (values.astype(np.float64) - min(ends)) / reach  # 0-1 within the scores seen
    return demand + np.clip((place + _BELOW) / (_BELOW + 1 + _ABOVE), 0, 1)


def _numbers(keys: NDArray[np.int64]) -> Float32Array:
    """Places in the order of all float32 numbers -> the numbers; a NaN becomes the infinity beside it."""
    keys = np.clip(keys, _KEY_OF_MINUS_INFINITY, _KEY_OF_INFINITY)
    bits = np.where(keys >= 1 << 31, keys - (1 << 31), _END - 1 - keys)
    return bits.astype(np.uint32).view(np.float32)
