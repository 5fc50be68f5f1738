"""How well scores separate normal images from anomalous ones, without any threshold; higher = more anomalous.

Everything here also serves frames and clips: one label and one score each. Labels are 0/1 or booleans, scores
finite numbers, both of any shape (lists, numpy arrays, CPU tensors). Every function raises DataError for NaN
or infinite scores, other labels, different lengths, no values, or labels of one class only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import UsageError
from offnormal.metrics.inputs import BoolArray, check_both_classes, labeled_scores

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # x, y, and thresholds, (K,) each


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, 0-1: how often an anomalous score is above a normal one, ties counting half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_both_classes(labels, scores)))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision, 0-1: precision at each threshold weighted by the recall gained there.

    Chance level is the share of anomalous samples, so it compares only within one dataset.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_both_classes(labels, scores)))


def best_f1(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The highest F1 that any threshold reaches, 0-1, and the lowest such threshold (score >= threshold).

    The threshold is chosen with the labels in hand: it measures separation and is no threshold to run a line
    by. Source: threshold choice of the PaDiM reference implementation (F1 = 0 where precision + recall = 0).

    >>> best_f1([0, 0, 1, 1], [0.1, 0.4, 0.5, 0.8])
    (1.0, 0.5)
    """
    recall, precision, thresholds = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total != 0)
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def roc_curve(labels: ArrayLike, scores: ArrayLike, points: int | None = None) -> Curve:
    """False and true positive rate from (0, 0) to (1, 1), and falling thresholds: a score >= one is called anomalous.

    The first threshold is infinite. points: thins the curve for a plot to at most so many, evenly along it, both ends
    included.
    """
    from sklearn.metrics import roc_curve as sklearn_roc_curve

    false_rate, true_rate, thresholds = sklearn_roc_curve(*_both_classes(labels, scores))
    return _thinned(false_rate, true_rate, thresholds.astype(np.float64), points)


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike, points: int | None = None) -> Curve:
    """Recall, falling from 1 to 0, precision, and rising thresholds, the last one infinite; as in `roc_curve`."""
    from sklearn.metrics import precision_recall_curve as sklearn_precision_recall_curve

    precision, recall, thresholds = sklearn_precision_recall_curve(*_both_classes(labels, scores))
    return _thinned(recall, precision, np.append(thresholds, np.inf), points)


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, NDArray[np.float64]]:
    flags, values = labeled_scores(labels, scores)
    anomalous = int(np.count_nonzero(flags))
    check_both_classes(anomalous, flags.size - anomalous, "labels")
    return flags, values


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], thresholds: NDArray[np.float64], points: int | None
) -> Curve:
    """At most `points` points, evenly spaced by the way along the curve, both ends included."""
    if points is not None and points < 2:
        raise UsageError(f"points={points}: a thinned curve needs at least 2, its two ends; None keeps every point")
    if points is None or len(x) <= points:
        return x, y, thresholds
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)))
    return x[kept], y[kept], thresholds[kept]
