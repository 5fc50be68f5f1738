"""Decisions by class and by split: how many units of each are judged correctly.

A class is a type of anomaly ("scratch") or of activity ("walking"). Labels are 0 (normal) and 1 (anomalous); a unit is
judged correctly if its score is above the threshold exactly when it is anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.metrics import image
from offnormal.metrics.decision import Share, share
from offnormal.metrics.inputs import labelled_scores


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How the units of one class fare; `correct`, `median` and `auroc` count those tested on."""

    name: str
    is_anomalous: bool
    counts: dict[str, int]  # units by split
    median: float | None  # score; None: none was tested on
    correct: Share | None  # passed, or detected; None: there is no threshold
    auroc: float | None  # of an anomalous class against all normal units tested on


@dataclass(frozen=True, slots=True)
class SplitRow:
    """How many units of a split are judged correctly: normal ones pass, anomalous ones are detected."""

    split: str
    count: int
    correct: Share | None  # None: there is no threshold


def class_rows(
    classes: Sequence[str],
    splits: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float | None,
    *,
    tested: Sequence[str],
) -> list[ClassRow]:
    """A row for each class, normal ones first, each kind in the order of appearance.

    classes, splits, labels, scores: (R,) each. tested: the splits that are tested on. Raises DataError for labels and
    scores as in `metrics.image`.

    >>> class_rows(["good", "cut"], ["", ""], [0, 1], [1.0, 3.0], 2.0, tested=[""])[1].auroc
    1.0
    """
    flags, values = labelled_scores(labels, scores)
    correct = _correct(flags, values, threshold)
    names, split_of = np.asarray(classes, dtype=str), np.asarray(splits, dtype=str)
    is_tested = np.isin(split_of, tested)
    rows = []
    for name in dict.fromkeys(classes):
        of_class = names == name
        counted = of_class & is_tested
        is_anomalous = bool(flags[of_class].any())
        compared = counted | (is_tested & ~flags)
        both = is_anomalous and bool((is_tested & ~flags).any()) and bool(counted.any())
        rows.append(
            ClassRow(
                name=name,
                is_anomalous=is_anomalous,
                counts={split: int((of_class & (split_of == split)).sum()) for split in dict.fromkeys(splits)},
                median=float(np.median(values[counted])) if counted.any() else None,
                correct=None if correct is None else share(int(correct[counted].sum()), int(counted.sum())),
                auroc=image.auroc(flags[compared], values[compared]) if both else None,
            )
        )
    return sorted(rows, key=lambda row: row.is_anomalous)


def split_rows(
    splits: Sequence[str], labels: ArrayLike, scores: ArrayLike, threshold: float | None, *, order: Sequence[str]
) -> list[SplitRow]:
    """A row for each split (in `order`) that has units; splits, labels, scores: (R,) each."""
    flags, values = labelled_scores(labels, scores)
    correct = _correct(flags, values, threshold)
    names = np.asarray(splits, dtype=str)
    rows = []
    for split in order:
        of_split = names == split
        if count := int(of_split.sum()):
            rows.append(SplitRow(split, count, None if correct is None else share(int(correct[of_split].sum()), count)))
    return rows


def _correct(
    flags: NDArray[np.bool_], values: NDArray[np.float64], threshold: float | None
) -> NDArray[np.bool_] | None:
    return None if threshold is None else np.asarray((values > threshold) == flags)
