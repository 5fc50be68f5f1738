"""Clips judged as wholes: how well scores separate, what a threshold keeps and catches, and what every other would.

Labels are 0 (normal) and 1 (anomalous); a clip is called anomalous where its score is above the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.metrics import image
from offnormal.metrics.decision import Share, share
from offnormal.metrics.inputs import check_both_classes, labelled_scores

METRICS = ("clip_AUROC", "clip_AP")


@dataclass(frozen=True, slots=True)
class Trade:
    """What every threshold does to the clips tested on."""

    thresholds: NDArray[np.float64]  # (K,) rising
    kept: NDArray[np.float64]  # (K,) share of the normal clips that are called normal, 0-1, rising
    caught: NDArray[np.float64]  # (K,) share of the anomalous clips that are called anomalous, 0-1, falling


@dataclass(frozen=True, slots=True)
class Hindsight:
    """The threshold that would have been best, known only with the labels of the test in hand."""

    threshold: float
    kept: float  # 0-1
    caught: float  # 0-1

    @property
    def balanced(self) -> float:
        """Mean of both, 0-1: the balanced accuracy."""
        return (self.kept + self.caught) / 2


@dataclass(frozen=True, slots=True)
class PartRow:
    """How many clips of a part are judged rightly: normal ones kept, anomalous ones caught."""

    part: str
    clips: int
    right: Share | None  # None: there is no threshold


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How the clips of one class fare; of a normal class those tested on, and their numbers by part."""

    action: str
    anomalous: bool
    counts: dict[str, int]  # by part
    median: float | None  # score of those tested on; None: there are none
    right: Share | None  # of those tested on: kept, or caught; None: there is no threshold
    auroc: float | None  # of an anomalous class against all normal clips tested on


def clip_metrics(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """AUROC and average precision over clips (R,); DataError as in `metrics.image`.

    >>> clip_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])["clip_AUROC"]
    0.75
    """
    return dict(zip(METRICS, (image.auroc(labels, scores), image.average_precision(labels, scores)), strict=True))


def trade(labels: ArrayLike, scores: ArrayLike) -> Trade:
    """Shares kept and caught at every threshold that makes a difference: below all scores, and at each of them.

    >>> found = trade([0, 0, 1], [1, 3, 2])
    >>> found.kept.tolist(), found.caught.tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0])
    """
    flags, values = labelled_scores(labels, scores)
    check_both_classes(int(flags.sum()), int((~flags).sum()), "labels")
    seen = np.unique(values)
    thresholds = np.concatenate([[np.nextafter(seen[0], -np.inf)], seen])
    normal, anomalous = (np.sort(values[own]) for own in (~flags, flags))
    kept = np.searchsorted(normal, thresholds, side="right") / normal.size
    caught = 1 - np.searchsorted(anomalous, thresholds, side="right") / anomalous.size
    return Trade(thresholds, kept, caught)


def best_by_hindsight(found: Trade) -> Hindsight:
    """Where kept and caught are highest together; of a stretch of thresholds that do the same its middle.

    >>> best_by_hindsight(trade([0, 0, 1, 1], [1, 2, 4, 5]))
    Hindsight(threshold=3.0, kept=1.0, caught=1.0)
    """
    place = int(np.argmax(found.kept + found.caught))
    lower, upper = found.thresholds[place], found.thresholds[min(place + 1, found.thresholds.size - 1)]
    middle = lower / 2 + upper / 2
    middle = float(middle if lower < middle < upper else lower)  # neighbouring numbers have none between them
    return Hindsight(middle, float(found.kept[place]), float(found.caught[place]))


def part_rows(
    parts: Sequence[str], labels: ArrayLike, scores: ArrayLike, threshold: float | None, *, order: Sequence[str]
) -> list[PartRow]:
    """A row for each part (in `order`) of which there are clips; parts, labels, scores: (R,) each."""
    right = _right(labels, scores, threshold)
    names = np.asarray(parts, dtype=str)
    rows = []
    for part in order:
        own = names == part
        number = int(own.sum())
        if number:
            rows.append(PartRow(part, number, None if right is None else share(int(right[own].sum()), number)))
    return rows


def class_rows(
    actions: Sequence[str],
    parts: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float | None,
    *,
    tested: Sequence[str],
) -> list[ClassRow]:
    """A row for each class, normal ones first, in the order in which they come; tested: parts that are tested on."""
    flags, values = labelled_scores(labels, scores)
    right = _right(labels, scores, threshold)
    names, place = np.asarray(actions, dtype=str), np.asarray(parts, dtype=str)
    test = np.isin(place, tested)
    rows = []
    for action in dict.fromkeys(actions):
        own = names == action
        here = own & test
        anomalous = bool(flags[own].any())
        used = here | (test & ~flags)
        rows.append(
            ClassRow(
                action,
                anomalous,
                {part: int((own & (place == part)).sum()) for part in dict.fromkeys(parts)},
                float(np.median(values[here])) if here.any() else None,
                None if right is None else share(int(right[here].sum()), int(here.sum())),
                image.auroc(flags[used], values[used]) if anomalous and (test & ~flags).any() else None,
            )
        )
    return sorted(rows, key=lambda row: row.anomalous)


def _right(labels: ArrayLike, scores: ArrayLike, threshold: float | None) -> NDArray[np.bool_] | None:
    if threshold is None:
        return None
    flags, values = labelled_scores(labels, scores)
    return np.asarray((values > threshold) == flags)
