"""Pixel metrics of anomaly maps: exact, for images that fit in memory.

Masks are (N, H, W) or (N, 1, H, W), nonzero = anomalous; maps likewise, higher = more anomalous; `ignore` (H, W),
nonzero = not counted in any image. For more pixels than fit, see `offnormal.metrics.accumulate.PixelScores`. Every
function raises DataError for different shapes, NaN or infinity, and pixels of one class only.

All three curves change only at scores of anomalous pixels, so there is one step per distinct anomalous score (or
histogram bin), with the number of normal pixels above it. Sorting the normal pixels takes most of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import UsageError
from offnormal.metrics.inputs import BoolArray, FloatArray, check_both_classes, pixel_arrays


def auroc(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """Area under the pixel ROC curve, 0-1; large regions dominate it (see `aupro`).

    >>> auroc([[[0, 0], [1, 1]]], [[[0.1, 0.4], [0.35, 0.8]]])
    0.75
    """
    return _steps(masks, maps, ignore).auroc()[0]


def aupro(masks: ArrayLike, maps: ArrayLike, fpr_limit: float = 0.3, ignore: ArrayLike | None = None) -> float:
    """Area under the per-region overlap (PRO) curve up to `fpr_limit`, divided by it: 0-1.

    All regions have equal weight. For each score as threshold (score >= threshold), the curve has the share of
    normal pixels above it and the mean over 8-connected regions of the share of pixels above it. It is integrated
    by trapezoid, with linear interpolation at the limit. Raises UsageError for a limit outside 0-1.

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021) 1038-1059 (per-region
    overlap, limit 0.3). The official code samples the thresholds; this function uses all of them. The values
    differ by less than 0.001 on the reference vectors.

    >>> maps = [[[0, 1, 9], [2, 3, 4], [2.5, 5, 6]]]
    >>> round(aupro([[[0, 0, 1], [0, 0, 0], [1, 0, 0]]], maps, fpr_limit=1.0), 4)  # 0.5 up to 4 of 7, then 1
    0.7143
    """
    check_fpr_limit(fpr_limit)
    return _steps(masks, maps, ignore, with_regions=True).aupro(fpr_limit)[0]


def best_f1(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> tuple[float, float]:
    """Highest pixel F1 over all thresholds, 0-1, and the lowest threshold that reaches it (score >= threshold).

    Source: threshold choice of the PaDiM reference implementation.

    >>> best_f1([[[0, 0], [1, 1]]], [[[0.1, 0.25], [0.5, 0.75]]])
    (1.0, 0.5)
    """
    return _steps(masks, maps, ignore).best_f1()[:2]


def check_fpr_limit(fpr_limit: float) -> None:
    """Raise UsageError unless 0 < fpr_limit <= 1."""
    if not 0 < fpr_limit <= 1:
        raise UsageError(
            f"fpr_limit={fpr_limit}: expected a share of the normal pixels above 0 and at most 1, such as 0.3"
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """Anomalous pixels by falling score, one step per distinct score or bin."""

    score: FloatArray  # (S,) lowest score of the step, falling
    normal_above: NDArray[np.int64]  # (S,) normal pixels above the step
    normal_through: NDArray[np.int64]  # (S,) normal pixels above or within the step
    anomalous: NDArray[np.int64]  # (S,) anomalous pixels within the step
    weight: NDArray[np.float64]  # (S,) sum of 1 / region size over the step's anomalous pixels
    blurred: BoolArray  # (S,) the step is a bin with different scores; else all scores are equal
    normals: int  # all normal pixels

    def auroc(self) -> tuple[float, float]:
        """Area under the ROC curve (ties count half) and its error bound from blurred steps.

        A blurred step of p anomalous and n normal pixels counts half of its p n pairs, so its error is at most
        p n / 2 pairs.
        """
        pairs = float(self.anomalous.sum()) * self.normals
        passed = (self.normal_above + self.normal_through) / 2
        open_pairs = self.anomalous * (self.normal_through - self.normal_above) / 2
        return (
            float(np.sum(self.anomalous * (self.normals - passed)) / pairs),
            float(np.sum(open_pairs[self.blurred]) / pairs),
        )

    def aupro(self, fpr_limit: float) -> tuple[float, float]:
        """AUPRO, the area up to `fpr_limit` divided by it, and its error bound from blurred steps.

        The curve rises linearly over a step. Within a blurred step, the true curve rises anywhere between the lower
        and the upper corner.
        """
        overlap = np.cumsum(self.weight)
        overlap /= overlap[-1]
        before = np.concatenate([[0.0], overlap[:-1]])
        x = np.concatenate([[0.0], np.column_stack([self.normal_above, self.normal_through]).ravel(), [self.normals]])
        y = np.concatenate([[0.0], np.column_stack([before, overlap]).ravel(), overlap[-1:]])
        x /= self.normals
        start, stop = np.minimum(x[:-1], fpr_limit), np.minimum(x[1:], fpr_limit)
        width, y_start = stop - start, y[:-1]
        share = np.divide(width, np.diff(x), out=np.zeros_like(width), where=width > 0)
        y_stop = y_start + (y[1:] - y_start) * share  # linear interpolation at the limit
        blurred = np.concatenate([np.column_stack([np.zeros_like(self.blurred), self.blurred]).ravel(), [False]])
        area = float(np.sum(width * (y_start + y_stop) / 2))
        above = float(np.sum((width * (y[1:] - (y_start + y_stop) / 2))[blurred]))  # the area below it is not larger
        return area / fpr_limit, above / fpr_limit

    def best_f1(self) -> tuple[float, float, float]:
        """Highest F1 of the steps, its lowest threshold, and the error bound from blurred steps.

        Precision, recall, and F1 use the order of operations of the PaDiM reference implementation, so that equal F1
        values give the same threshold.
        """
        total = self.anomalous.sum()
        detected = np.cumsum(self.anomalous)
        precision, recall = detected / (detected + self.normal_through), detected / total
        f1 = 2 * precision * recall / (precision + recall)
        best = f1.size - 1 - int(np.argmax(f1[::-1]))
        within = (
            2 * detected / (total + detected + self.normal_above)
        )  # with every anomalous and no normal pixel of the bin
        upper = float(np.max(within[self.blurred], initial=0.0))
        return float(f1[best]), float(self.score[best]), max(0.0, upper - float(f1[best]))


def exact_steps(normal: FloatArray, anomalous: FloatArray, weight: NDArray[np.float64]) -> Steps:
    """Compute steps from normal scores (n,), sorted rising, and anomalous scores (a,) with weights (a,)."""
    order = np.argsort(anomalous)[::-1]
    falling = anomalous[order]
    first = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]])[: falling.size])
    score = falling[first]
    return Steps(
        score=score,
        normal_above=normal.size - np.searchsorted(normal, score, side="right"),
        normal_through=normal.size - np.searchsorted(normal, score, side="left"),
        anomalous=np.diff(np.append(first, anomalous.size)),
        weight=np.add.reduceat(weight[order], first),
        blurred=np.zeros(score.size, dtype=np.bool_),
        normals=normal.size,
    )


def region_sizes(masks: BoolArray, counted: BoolArray) -> tuple[NDArray[np.int32], int]:
    """Size of the region of each anomalous pixel, and the number of regions.

    masks: (N, H, W), counted: (H, W). Sizes are in the C order of `masks & counted`. A region cut by pixels that do
    not count stays one region of its counted pixels; a region without counted pixels does not count.

    >>> corner = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]], dtype=bool)
    >>> region_sizes(corner, np.ones((4, 3), dtype=bool))
    (array([2, 2, 3, 3, 3], dtype=int32), 2)
    """
    from scipy import ndimage

    sizes, regions = [np.zeros(0, dtype=np.int32)], 0
    for mask in masks:
        if not mask.any():
            continue
        numbered, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        region = numbered[mask & counted]
        size = np.bincount(region)
        sizes.append(size[region].astype(np.int32))
        regions += int(np.count_nonzero(size))
    return np.concatenate(sizes), regions


def _steps(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None, *, with_regions: bool = False) -> Steps:
    truth, scores, counted = pixel_arrays(masks, maps, ignore)
    normal, anomalous = scores[~truth & counted], scores[truth & counted]
    check_both_classes(anomalous.size, normal.size, "pixels")
    normal.sort()
    weight = np.ones(anomalous.size)
    if with_regions:
        weight = 1 / region_sizes(truth, counted)[0]
    return exact_steps(normal, anomalous, weight)
