"""Pixel metrics accumulated over batches: exact up to a number of pixels, then with a fine histogram.

The bins come from repeated bisection of the 2^32 ordered float32 numbers where there are many pixels. They cover
-infinity to +infinity, a frequent single value gets a separate bin, and two histograms share enough edges for a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import UsageError
from offnormal.metrics.inputs import check_finite, pixel_arrays
from offnormal.metrics.pixel import Steps, check_fpr_limit, exact_steps, region_sizes

Float32Array = NDArray[np.float32]

_END = 1 << 32
_KEY_OF_MINUS_INFINITY, _KEY_OF_INFINITY = 0x007FFFFF, 0xFF800000
_TOP_FINENESS = 1000  # ratio of bin density at the highest to the lowest normal scores, for AUPRO
_BELOW, _ABOVE = 1, 4  # even bins extend below and above the scores by this many times their range


@dataclass(slots=True)
class Histogram:
    """Pixels and region weights per bin; bin i has edges[i] <= score < edges[i + 1]."""

    edges: Float32Array  # (B,) rising, the first -infinity; the last bin is open above
    normal: NDArray[np.int64]  # (B,)
    anomalous: NDArray[np.int64]  # (B,)
    weight: NDArray[np.float64]  # (B,) sum of 1 / region size over the anomalous pixels
    lowest: float = float("inf")  # lowest score

    @classmethod
    def empty(cls, edges: Float32Array) -> Histogram:
        """Create a histogram without pixels."""
        return cls(edges, np.zeros(edges.size, np.int64), np.zeros(edges.size, np.int64), np.zeros(edges.size))

    def add(self, normal: Float32Array, anomalous: Float32Array, region_size: NDArray[np.int32]) -> None:
        """Count normal scores (n,), sorted rising, and anomalous ones (a,) with their region sizes (a,)."""
        self.normal += np.diff(np.append(np.searchsorted(normal, self.edges), normal.size))
        at = np.searchsorted(self.edges, anomalous, side="right") - 1
        self.anomalous += np.bincount(at, minlength=self.edges.size)
        self.weight += np.bincount(at, weights=1 / region_size, minlength=self.edges.size)
        for scores in (normal[:1], anomalous):
            self.lowest = min(self.lowest, float(scores.min(initial=np.inf)))

    def merge(self, histogram: Histogram) -> Histogram:
        """Sum of two histograms on their common edges."""
        edges = np.intersect1d(self.edges, histogram.edges)
        result = Histogram.empty(edges)
        for part in (self, histogram):
            starts = np.searchsorted(part.edges, edges)
            result.normal += np.add.reduceat(part.normal, starts)
            result.anomalous += np.add.reduceat(part.anomalous, starts)
            result.weight += np.add.reduceat(part.weight, starts)
        result.lowest = min(self.lowest, histogram.lowest)
        return result

    def steps(self) -> Steps:
        """One step per bin with anomalous pixels; a bin of a single float32 number is not blurred."""
        through = np.cumsum(self.normal[::-1])[::-1]
        infinity = np.float32(np.inf)
        with np.errstate(over="ignore"):  # the next number after the largest is infinity
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
    """Choose lower edges of at most `bins` bins for the scores; both arrays sorted rising, one may be empty.

    Four demands share the bins equally: the number of normal pixels; the same with more weight for the highest; the
    number of anomalous pixels; and even spacing by value, from below the lowest score to well above the highest.
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
    """Cumulative demand for bins below each value."""
    demand = np.zeros(values.size)
    if normal.size:
        above = 1 - np.searchsorted(normal, values) / normal.size
        demand += 1 - above
        demand += 1 - np.log1p(_TOP_FINENESS * above) / np.log1p(_TOP_FINENESS)
    if anomalous.size:
        demand += np.searchsorted(anomalous, values) / anomalous.size
    ends = [float(scores[end]) for scores in (normal, anomalous) if scores.size for end in (0, -1)]
    reach = max(ends) - min(ends) or max(abs(max(ends)), 1.0)
    position = (values.astype(np.float64) - min(ends)) / reach  # 0-1 within the scores
    return demand + np.clip((position + _BELOW) / (_BELOW + 1 + _ABOVE), 0, 1)


def _numbers(keys: NDArray[np.int64]) -> Float32Array:
    """Convert positions in the order of all float32 numbers to numbers; a NaN becomes the nearest infinity."""
    keys = np.clip(keys, _KEY_OF_MINUS_INFINITY, _KEY_OF_INFINITY)
    bits = np.where(keys >= 1 << 31, keys - (1 << 31), _END - 1 - keys)
    return bits.astype(np.uint32).view(np.float32)


@dataclass(frozen=True, slots=True)
class PixelResult:
    """Pixel metrics, 0-1; None without anomalous or without normal pixels.

    The true value of a metric is within its error bound; the bounds are 0 if `exact`.
    """

    auroc: float | None
    aupro: float | None
    f1: float | None  # highest over all thresholds; its bound is one-sided: the true value is not lower
    f1_threshold: float | None  # lowest threshold with that F1 (score >= threshold)
    pixels: int  # pixels counted, without ignored ones
    regions: int  # 8-connected anomalous regions
    exact: bool
    auroc_error_bound: float = 0.0
    aupro_error_bound: float = 0.0
    f1_error_bound: float = 0.0


class PixelScores:
    """Accumulates the pixels of masks and anomaly maps and computes pixel metrics.

    Scores are stored as float32: 4 bytes per normal pixel, 8 per anomalous one. Above `max_pixels` pixels, they are
    counted in at most `bins` bins, and the result has error bounds. Merged collectors give the same result in any
    order while exact.

    >>> scores = PixelScores()
    >>> scores.update([[[0, 0], [1, 1]]], [[[0.1, 0.4], [0.35, 0.8]]])
    >>> scores.compute().auroc, scores.compute().exact
    (0.75, True)
    """

    def __init__(self, max_pixels: int = 64_000_000, fpr_limit: float = 0.3, bins: int = 65536) -> None:
        check_fpr_limit(fpr_limit)
        if max_pixels < 0 or bins < 2:
            raise UsageError(f"max_pixels={max_pixels}, bins={bins}; expected at least 0 pixels and 2 bins")
        self.max_pixels = max_pixels
        self.fpr_limit = fpr_limit
        self.bins = bins
        self._normal: list[Float32Array] = []
        self._anomalous: list[Float32Array] = []
        self._region_size: list[NDArray[np.int32]] = []  # region size of each anomalous pixel
        self._histogram: Histogram | None = None
        self._pixels = 0
        self._regions = 0

    def update(self, masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> None:
        """Add images: masks and maps (N, H, W) or (N, 1, H, W), `ignore` (H, W) as in `metrics.pixel`.

        Raises DataError for different shapes and for NaN, infinity, or values beyond float32 in the maps, and adds
        nothing in that case. Calls may have images of different sizes.
        """
        truth, scores, counted = pixel_arrays(masks, maps, ignore)
        chunks = []
        for pixels in (~truth & counted, truth & counted):
            with np.errstate(over="ignore"):
                chunks.append(scores[pixels].astype(np.float32, copy=False))
            check_finite(chunks[-1], "maps as float32")
        sizes, regions = region_sizes(truth, counted)
        self._pixels += chunks[0].size + chunks[1].size
        self._regions += regions
        self._add([chunks[0]], [chunks[1]], [sizes])

    def merge(self, scores: PixelScores) -> None:
        """Add the pixels of another collector, which does not change; UsageError for a different `fpr_limit`."""
        if scores.fpr_limit != self.fpr_limit:
            raise UsageError(
                f"fpr_limit {self.fpr_limit:g} and {scores.fpr_limit:g} of merged pixel scores; expected the same limit"
            )
        self._pixels += scores._pixels
        self._regions += scores._regions
        if scores._histogram is not None:
            histogram = Histogram.empty(scores._histogram.edges) if self._histogram is None else self._histogram
            self._histogram = histogram.merge(scores._histogram)
        self._add(scores._normal, scores._anomalous, scores._region_size)  # into the histogram, if there is one

    def compute(self) -> PixelResult:
        """Compute the metrics; more pixels may be added later."""
        steps = self._steps()
        total = int(steps.anomalous.sum())
        exact = self._histogram is None
        if total == 0 or steps.normals == 0:
            return PixelResult(None, None, None, None, self._pixels, self._regions, exact)
        auroc, auroc_bound = steps.auroc()
        aupro, aupro_bound = steps.aupro(self.fpr_limit)
        f1, threshold, f1_bound = steps.best_f1()
        return PixelResult(
            auroc=auroc,
            aupro=aupro,
            f1=f1,
            f1_threshold=threshold,
            pixels=self._pixels,
            regions=self._regions,
            exact=exact,
            auroc_error_bound=auroc_bound,
            aupro_error_bound=aupro_bound,
            f1_error_bound=f1_bound,
        )

    def _add(
        self,
        normal: list[Float32Array],
        anomalous: list[Float32Array],
        region_size: list[NDArray[np.int32]],
    ) -> None:
        self._normal += normal
        self._anomalous += anomalous
        self._region_size += region_size
        if self._histogram is not None or self._pixels > self.max_pixels:
            self._fold()

    def _concatenate(self) -> tuple[Float32Array, Float32Array, NDArray[np.int32]]:
        """Merge the stored pixels into one array each, normal ones sorted, and store them."""
        normal = np.concatenate([np.zeros(0, np.float32), *self._normal])
        self._normal = [normal]
        normal.sort()
        self._anomalous = [np.concatenate([np.zeros(0, np.float32), *self._anomalous])]
        self._region_size = [np.concatenate([np.zeros(0, np.int32), *self._region_size])]
        return normal, self._anomalous[0], self._region_size[0]

    def _fold(self) -> None:
        """Move the stored pixels into the histogram; the first call creates its bins."""
        normal, anomalous, region_size = self._concatenate()
        if self._histogram is None:
            self._histogram = Histogram.empty(bin_edges(normal, np.sort(anomalous), self.bins))
        self._histogram.add(normal, anomalous, region_size)
        self._normal, self._anomalous, self._region_size = [], [], []

    def _steps(self) -> Steps:
        if self._histogram is not None:
            return self._histogram.steps()
        normal, anomalous, region_size = self._concatenate()
        return exact_steps(normal, anomalous, 1 / region_size)
