"""Exact AUROC, AUPRO and best F1 from pixels in the order of their scores, and how far ties blur them.

All three curves turn only where an anomalous pixel is passed, so what is kept is one step per distinct
anomalous score (or histogram bin) with the number of normal pixels above it: sorting the normal pixels is the
only work that grows with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offnormal.metrics.inputs import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Steps:
    """The anomalous pixels by falling score, one step per distinct score or bin of scores."""

    score: FloatArray  # (S,) falling: the lowest score of the step
    normal_above: NDArray[np.int64]  # (S,) normal pixels above the step
    normal_through: NDArray[np.int64]  # (S,) normal pixels above or within the step
    anomalous: NDArray[np.int64]  # (S,) anomalous pixels within the step
    weight: NDArray[np.float64]  # (S,) sum of 1 / region size over the step's anomalous pixels: regions found with it
    blurred: BoolArray  # (S,) the step is a bin whose pixels may differ in score; else they are true ties
    normals: int  # all normal pixels


def exact_steps(normal: FloatArray, anomalous: FloatArray, weight: NDArray[np.float64]) -> Steps:
    """Steps from normal scores (n,), sorted rising, and anomalous scores (a,) with their weights (a,)."""
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


def auroc(steps: Steps) -> tuple[float, float]:
    """Area under the ROC curve, ties counting half, and the most that blurred steps can have changed it.

    Within a blurred step of p anomalous and n normal pixels the true order may win between 0 and p n of their
    pairs; half of them is counted, so p n / 2 pairs are open.
    """
    pairs = float(steps.anomalous.sum()) * steps.normals
    passed = (steps.normal_above + steps.normal_through) / 2
    open_pairs = steps.anomalous * (steps.normal_through - steps.normal_above) / 2
    return (
        float(np.sum(steps.anomalous * (steps.normals - passed)) / pairs),
        float(np.sum(open_pairs[steps.blurred]) / pairs),
    )


def aupro(steps: Steps, fpr_limit: float) -> tuple[float, float]:
    """AUPRO, the area up to `fpr_limit` divided by it, and the most that blurred steps can have changed it.

    The curve rises linearly over a step. Within a blurred step the true curve is only known to rise
    somewhere: it lies between the corner below and the corner above.
    """
    found = np.cumsum(steps.weight)
    found /= found[-1]
    before = np.concatenate([[0.0], found[:-1]])
    x = np.concatenate([[0.0], np.column_stack([steps.normal_above, steps.normal_through]).ravel(), [steps.normals]])
    y = np.concatenate([[0.0], np.column_stack([before, found]).ravel(), found[-1:]])
    x /= steps.normals
    start, stop = np.minimum(x[:-1], fpr_limit), np.minimum(x[1:], fpr_limit)
    width, left = stop - start, y[:-1]
    share = np.divide(width, np.diff(x), out=np.zeros_like(width), where=width > 0)
    right = left + (y[1:] - left) * share  # linear interpolation at the limit
    blurred = np.concatenate([np.column_stack([np.zeros_like(steps.blurred), steps.blurred]).ravel(), [False]])
    area = float(np.sum(width * (left + right) / 2))
    above = float(np.sum((width * (y[1:] - (left + right) / 2))[blurred]))  # the area below is never larger
    return area / fpr_limit, above / fpr_limit


def best_f1(steps: Steps) -> tuple[float, float, float]:
    """Highest F1 of the steps, its lowest threshold, and how much higher one within a bin could reach.

    Precision, recall and F1 are computed in the order of operations of the PaDiM reference implementation, so
    that equal F1 values fall to the same threshold.
    """
    total = steps.anomalous.sum()
    caught = np.cumsum(steps.anomalous)
    precision, recall = caught / (caught + steps.normal_through), caught / total
    f1 = 2 * precision * recall / (precision + recall)
    best = f1.size - 1 - int(np.argmax(f1[::-1]))
    within = 2 * caught / (total + caught + steps.normal_above)  # every anomalous pixel of the bin, no normal one
    reach = float(np.max(within[steps.blurred], initial=0.0))
    return float(f1[best]), float(steps.score[best]), max(0.0, reach - float(f1[best]))
