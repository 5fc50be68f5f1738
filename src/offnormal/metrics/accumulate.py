"""Pixel metrics, batch by batch: exact up to a number of pixels, beyond it in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import UsageError
from offnormal.metrics import ranking
from offnormal.metrics.histogram import Float32Array, Histogram, bin_edges
from offnormal.metrics.inputs import check_finite, pixel_arrays
from offnormal.metrics.pixel import check_fpr_limit
from offnormal.metrics.regions import region_sizes


@dataclass(frozen=True, slots=True)
class PixelResult:
    """Pixel metrics, 0-1; None where there are no anomalous or no normal pixels.

    The true value of a metric lies within its error bound of the number given; the bounds are 0 while
    `exact`.
    """

    auroc: float | None
    aupro: float | None
    f1: float | None  # highest over all thresholds; its bound is one-sided, the true one can only be higher
    f1_threshold: float | None  # lowest score called anomalous at that F1 (score >= threshold)
    pixels: int  # pixels counted, ignored ones left out
    regions: int  # 8-connected anomalous regions
    exact: bool
    auroc_error_bound: float = 0.0
    aupro_error_bound: float = 0.0
    f1_error_bound: float = 0.0


class PixelScores:
    """Collects the pixels of masks and anomaly maps and says how well the maps point at the anomalous ones.

    Scores are kept as float32: 4 bytes a normal pixel, 8 an anomalous one. Beyond `max_pixels` pixels they
    are counted in at most `bins` bins instead, and the result states how far that may be off. Collecting in
    parts and merging them, in any order, gives the same while exact.

    >>> scores = PixelScores()
    >>> scores.update([[[0, 0], [1, 1]]], [[[0.1, 0.4], [0.35, 0.8]]])
    >>> scores.compute().auroc, scores.compute().exact
    (0.75, True)
    """

    def __init__(self, max_pixels: int = 64_000_000, fpr_limit: float = 0.3, bins: int = 65536) -> None:
        check_fpr_limit(fpr_limit)
        if max_pixels < 0 or bins < 2:
            raise UsageError(f"max_pixels={max_pixels}, bins={bins}: expected at least 0 pixels and 2 bins")
        self.max_pixels = max_pixels
        self.fpr_limit = fpr_limit
        self.bins = bins
        self._normal: list[Float32Array] = []
        self._anomalous: list[Float32Array] = []
        self._region_size: list[NDArray[np.int32]] = []  # of the region of each anomalous pixel
        self._histogram: Histogram | None = None
        self._pixels = 0
        self._regions = 0

    def update(self, masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> None:
        """Add images: masks and maps (N, H, W) or (N, 1, H, W), `ignore` (H, W) as in `metrics.pixel`.

        Raises DataError for shapes that do not match and for NaN, infinity or values beyond float32 in the
        maps; nothing is added then. Another call may bring images of another size.
        """
        truth, scores, kept = pixel_arrays(masks, maps, ignore)
        chunks = []
        for chosen in (~truth & kept, truth & kept):
            with np.errstate(over="ignore"):
                chunks.append(scores[chosen].astype(np.float32, copy=False))
            check_finite(chunks[-1], "maps as float32")
        sizes, regions = region_sizes(truth, kept)
        self._pixels += chunks[0].size + chunks[1].size
        self._regions += regions
        self._add([chunks[0]], [chunks[1]], [sizes])

    def merge(self, other: PixelScores) -> None:
        """Add everything that another collector with the same `fpr_limit` has seen; it stays as it is.

        Raises UsageError where the limits differ.
        """
        if other.fpr_limit != self.fpr_limit:
            raise UsageError(
                f"merging pixel scores with fpr_limit {self.fpr_limit:g} and {other.fpr_limit:g}: "
                "expected the same limit: collect both with one"
            )
        self._pixels += other._pixels
        self._regions += other._regions
        if other._histogram is not None:
            own = Histogram.empty(other._histogram.edges) if self._histogram is None else self._histogram
            self._histogram = own.merged(other._histogram)
        self._add(other._normal, other._anomalous, other._region_size)  # into the bins, if there are any

    def compute(self) -> PixelResult:
        """The metrics of everything so far; collecting may go on afterwards."""
        steps = self._steps()
        total = int(steps.anomalous.sum())
        exact = self._histogram is None
        if total == 0 or steps.normals == 0:
            return PixelResult(None, None, None, None, self._pixels, self._regions, exact)
        auroc, auroc_bound = ranking.auroc(steps)
        aupro, aupro_bound = ranking.aupro(steps, self.fpr_limit)
        f1, threshold, f1_bound = ranking.best_f1(steps)
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

    def _gathered(self) -> tuple[Float32Array, Float32Array, NDArray[np.int32]]:
        """Every pixel held, as one array each; the normal ones sorted. Kept so, for the next call."""
        normal = np.concatenate([np.zeros(0, np.float32), *self._normal])
        self._normal = [normal]
        normal.sort()
        self._anomalous = [np.concatenate([np.zeros(0, np.float32), *self._anomalous])]
        self._region_size = [np.concatenate([np.zeros(0, np.int32), *self._region_size])]
        return normal, self._anomalous[0], self._region_size[0]

    def _fold(self) -> None:
        """Move every pixel held into the histogram; the first time that makes its bins."""
        normal, anomalous, region_size = self._gathered()
        if self._histogram is None:
            self._histogram = Histogram.empty(bin_edges(normal, np.sort(anomalous), self.bins))
        self._histogram.add(normal, anomalous, region_size)
        self._normal, self._anomalous, self._region_size = [], [], []

    def _steps(self) -> ranking.Steps:
        if self._histogram is not None:
            return self._histogram.steps()
        normal, anomalous, region_size = self._gathered()
        return ranking.exact_steps(normal, anomalous, 1 / region_size)
