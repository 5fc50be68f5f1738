"""Every threshold at once: shares of normal units that pass and of anomalous ones that are detected.

Labels are 0 (normal) and 1 (anomalous); a unit is called anomalous where its score is above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.metrics.inputs import check_both_classes, labelled_scores


@dataclass(frozen=True, slots=True)
class ThresholdSweep:
    """What every threshold does to the units tested on."""

    thresholds: NDArray[np.float64]  # (K,) rising
    passed: NDArray[np.float64]  # (K,) share of the normal units that are called normal, 0-1, rising
    detected: NDArray[np.float64]  # (K,) share of the anomalous units that are called anomalous, 0-1, falling


@dataclass(frozen=True, slots=True)
class OracleThreshold:
    """The threshold that would have been best, known only with the labels of the test set."""

    threshold: float
    passed: float  # 0-1
    detected: float  # 0-1

    @property
    def balanced_accuracy(self) -> float:
        """Mean of both, 0-1."""
        return (self.passed + self.detected) / 2


def threshold_sweep(labels: ArrayLike, scores: ArrayLike) -> ThresholdSweep:
    """Shares passed and detected at every threshold that makes a difference: below all scores, and at each of them.

    >>> sweep = threshold_sweep([0, 0, 1], [1, 3, 2])
    >>> sweep.passed.tolist(), sweep.detected.tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0])
    """
    flags, values = labelled_scores(labels, scores)
    check_both_classes(int(flags.sum()), int((~flags).sum()), "labels")
    distinct = np.unique(values)
    thresholds = np.concatenate([[np.nextafter(distinct[0], -np.inf)], distinct])
    normal, anomalous = (np.sort(values[rows]) for rows in (~flags, flags))
    passed = np.searchsorted(normal, thresholds, side="right") / normal.size
    detected = 1 - np.searchsorted(anomalous, thresholds, side="right") / anomalous.size
    return ThresholdSweep(thresholds, passed, detected)


def oracle_threshold(sweep: ThresholdSweep) -> OracleThreshold:
    """Where passed and detected are highest together; of a range of thresholds that do the same its middle.

    >>> oracle_threshold(threshold_sweep([0, 0, 1, 1], [1, 2, 4, 5]))
    OracleThreshold(threshold=3.0, passed=1.0, detected=1.0)
    """
    best = int(np.argmax(sweep.passed + sweep.detected))
    lower, upper = sweep.thresholds[best], sweep.thresholds[min(best + 1, sweep.thresholds.size - 1)]
    middle = lower / 2 + upper / 2
    middle = float(middle if lower < middle < upper else lower)  # neighboring numbers have none between them
    return OracleThreshold(middle, float(sweep.passed[best]), float(sweep.detected[best]))
