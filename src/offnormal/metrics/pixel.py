"""How well anomaly maps point at the anomalous pixels: exact, for pictures that fit in memory.

Masks are (N, H, W) or (N, 1, H, W), nonzero = anomalous; maps likewise, higher = more anomalous; `ignore` (H,
W) leaves pixels out of every image. For more pixels than fit, see `offnormal.metrics.accumulate.PixelScores`.
Every function raises DataError for shapes that do not match, NaN or infinity, and pixels of one class only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from offnormal.errors import UsageError
from offnormal.metrics import ranking
from offnormal.metrics.inputs import check_both_classes, pixel_arrays
from offnormal.metrics.regions import region_sizes


def auroc(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """Area under the pixel ROC curve, 0-1; large regions dominate it: see `aupro`.

    >>> auroc([[[0, 0], [1, 1]]], [[[0.1, 0.4], [0.35, 0.8]]])
    0.75
    """
    return ranking.auroc(_steps(masks, maps, ignore))[0]


def aupro(masks: ArrayLike, maps: ArrayLike, fpr_limit: float = 0.3, ignore: ArrayLike | None = None) -> float:
    """Area under the per-region overlap (PRO) curve up to `fpr_limit`, divided by it: 0-1.

    Every region counts alike, small or large. At each score as threshold (score >= threshold) the curve has
    the share of normal pixels called anomalous and, as a mean over the 8-connected regions, the share of a
    region's pixels called anomalous; it is integrated by trapezoid, with linear interpolation at the limit.
    Raises UsageError for a limit outside 0-1.

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021) 1038-1059 (per-region
    overlap, limit 0.3). The official code takes a selection of the thresholds; this is the curve over all of
    them, from which the official value differs by less than 0.001 on the reference vectors.

    >>> maps = [[[0, 1, 9], [2, 3, 4], [2.5, 5, 6]]]
    >>> round(aupro([[[0, 0, 1], [0, 0, 0], [1, 0, 0]]], maps, fpr_limit=1.0), 4)  # 0.5 until 4 of 7, then 1
    0.7143
    """
    check_fpr_limit(fpr_limit)
    return ranking.aupro(_steps(masks, maps, ignore, with_regions=True), fpr_limit)[0]


def best_f1(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None = None) -> tuple[float, float]:
    """The highest pixel F1 of any threshold, 0-1, and the lowest such threshold (score >= threshold).

    Source: threshold choice of the PaDiM reference implementation.

    >>> best_f1([[[0, 0], [1, 1]]], [[[0.1, 0.25], [0.5, 0.75]]])
    (1.0, 0.5)
    """
    return ranking.best_f1(_steps(masks, maps, ignore))[:2]


def check_fpr_limit(fpr_limit: float) -> None:
    """UsageError unless 0 < fpr_limit <= 1."""
    if not 0 < fpr_limit <= 1:
        raise UsageError(
            f"fpr_limit={fpr_limit}: expected a share of the normal pixels above 0 and at most 1, such as 0.3"
        )


def _steps(masks: ArrayLike, maps: ArrayLike, ignore: ArrayLike | None, *, with_regions: bool = False) -> ranking.Steps:
    truth, scores, kept = pixel_arrays(masks, maps, ignore)
    normal, anomalous = scores[~truth & kept], scores[truth & kept]
    check_both_classes(anomalous.size, normal.size, "pixels")
    normal.sort()
    weight = np.ones(anomalous.size)
    if with_regions:
        weight = 1 / region_sizes(truth, kept)[0]
    return ranking.exact_steps(normal, anomalous, weight)
