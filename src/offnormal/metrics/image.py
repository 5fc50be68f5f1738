"""Metrics of scores against labels, without a threshold; higher scores = more anomalous.

The functions also serve frames and clips: one label and one score each. Labels are 0/1 or booleans, scores are finite
numbers, both of any shape (lists, numpy arrays, CPU tensors). Every function raises DataError for NaN or infinite
scores, other labels, different lengths, no values, and labels of one class only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import UsageError
from offnormal.metrics.inputs import BoolArray, check_both_classes, labeled_scores

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # x, y, and thresholds, (K,) each


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, 0-1: share of pairs with the anomalous score above the normal one; ties count half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_both_classes(labels, scores)))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision, 0-1: precision at each threshold, weighted by the increase in recall.

    Chance level is the share of anomalous scores, so values are comparable only on the same data.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_both_classes(labels, scores)))


def best_f1(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Highest F1 over all thresholds, 0-1, and the lowest threshold that reaches it (score >= threshold).

    The threshold is chosen with the labels, so it measures separation and is not for production. Source: threshold
    choice of the PaDiM reference implementation (F1 = 0 where precision + recall = 0).

    >>> best_f1([0, 0, 1, 1], [0.1, 0.4, 0.5, 0.8])
    (1.0, 0.5)
    """
    recall, precision, thresholds = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total != 0)
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def roc_curve(labels: ArrayLike, scores: ArrayLike, points: int | None = None) -> Curve:
    """False-positive and true-positive rates from (0, 0) to (1, 1), and falling thresholds (score >= threshold).

    The first threshold is infinite. points: maximum number of points, evenly along the curve, including both ends.
    """
    from sklearn.metrics import roc_curve as sklearn_roc_curve

    false_rate, true_rate, thresholds = sklearn_roc_curve(*_both_classes(labels, scores))
    return _thin(false_rate, true_rate, thresholds.astype(np.float64), points)


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike, points: int | None = None) -> Curve:
    """Recall from 1 to 0, precision, and rising thresholds, the last one infinite; points as in `roc_curve`."""
    from sklearn.metrics import precision_recall_curve as sklearn_precision_recall_curve

    precision, recall, thresholds = sklearn_precision_recall_curve(*_both_classes(labels, scores))
    return _thin(recall, precision, np.append(thresholds, np.inf), points)


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, NDArray[np.float64]]:
    flags, values = labeled_scores(labels, scores)
    anomalous = int(np.count_nonzero(flags))
    check_both_classes(anomalous, flags.size - anomalous, "labels")
    return flags, values


def _thin(x: NDArray[np.float64], y: NDArray[np.float64], thresholds: NDArray[np.float64], points: int | None) -> Curve:
    """Select at most `points` points, evenly along the curve, including both ends."""
    if points is not None and points < 2:
        raise UsageError(f"points={points}: expected at least 2, for the two ends, or None for all points")
    if points is None or len(x) <= points:
        return x, y, thresholds
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    rows = np.unique(np.searchsorted(length, np.linspace(0, length[-1], points)))
    return x[rows], y[rows], thresholds[rows]
