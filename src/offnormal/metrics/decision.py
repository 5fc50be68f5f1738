"""Metrics of decisions: missed units and false alarms at one or many thresholds, by class, and by split.

A unit is anomalous if its score is *above* the threshold (score > threshold), as with every calibrated threshold. A
class is a type of anomaly ("scratch") or of activity ("walking"). Labels and verdicts are 0/1 or booleans, 1 =
anomalous; DataError for other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, UsageError
from offnormal.metrics import image
from offnormal.metrics.inputs import BoolArray, as_binary, as_finite, check_both_classes, labeled_scores

CONFIDENCE = 0.95
_RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0)  # common false-alarm rates

Report = dict[str, dict[str, float] | float]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of units with the 95 % confidence interval of the true share (Clopper-Pearson)."""

    count: int
    total: int
    per_100: float | None  # None if `total` is 0
    low: float  # per 100
    high: float  # per 100


@dataclass(frozen=True, slots=True)
class Confusion:
    """Decisions against labels, as numbers of units."""

    passed: int  # normal, not above the threshold
    false_alarm: int  # normal, above the threshold
    missed: int  # anomalous, not above the threshold
    detected: int  # anomalous, above the threshold

    @property
    def false_alarms_per_100_normal(self) -> Share:
        """False alarms among normal units."""
        return share(self.false_alarm, self.passed + self.false_alarm)

    @property
    def missed_per_100_anomalous(self) -> Share:
        """Missed units among anomalous units."""
        return share(self.missed, self.missed + self.detected)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Decisions at one threshold; None where a denominator is 0."""

    threshold: float
    false_alarms: int
    false_alarms_per_100_normal: float | None
    missed: int
    missed_per_100_anomalous: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def share(count: int, total: int) -> Share:
    """Share of `count` in `total` units, with its exact (Clopper-Pearson) 95 % confidence interval.

    For 0 of 20, the true share may still be up to 16.8 per 100. Source: Clopper and Pearson, The use of confidence or
    fiducial limits, Biometrika 26 (1934) 404-413, by quantiles of the beta distribution. Raises UsageError unless 0 <=
    count <= total.

    >>> zero = share(0, 20)
    >>> zero.per_100, zero.low, round(zero.high, 1)
    (0.0, 0.0, 16.8)
    """
    from scipy.special import betaincinv

    if not 0 <= count <= total:
        raise UsageError(f"count {count}, total {total}: expected 0 <= count <= total")
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return Share(count, total, 100 * count / total if total else None, 100 * low, 100 * high)


def confusion(labels: ArrayLike, verdicts: ArrayLike) -> Confusion:
    """Count the four kinds of decisions; labels of one class are valid.

    >>> counts = confusion([0, 0, 0, 1], [0, 1, 0, 1])
    >>> counts, counts.false_alarms_per_100_normal.per_100
    (Confusion(passed=2, false_alarm=1, missed=0, detected=1), 33.333333333333336)
    """
    truth, flags = _check_pairs(labels, verdicts)
    counts = np.bincount(2 * truth + flags, minlength=4)
    return Confusion(*(int(count) for count in counts))


def classification_report(labels: ArrayLike, verdicts: ArrayLike) -> Report:
    """scikit-learn's classification report as a dict, for JSON.

    Keys "normal", "anomalous", "macro avg", and "weighted avg" have precision, recall, f1-score, and support;
    "accuracy" is a number. Undefined values (a denominator of 0) are 0.

    >>> classification_report([0, 0, 1, 1], [0, 1, 1, 1])["normal"]
    {'precision': 1.0, 'recall': 0.5, 'f1-score': 0.6666666666666666, 'support': 2.0}
    """
    from sklearn.metrics import classification_report as sklearn_report

    truth, flags = _check_pairs(labels, verdicts)
    report = sklearn_report(
        truth, flags, labels=[0, 1], target_names=["normal", "anomalous"], zero_division=0, output_dict=True
    )
    return {
        name: {key: float(number) for key, number in value.items()} if isinstance(value, dict) else float(value)
        for name, value in report.items()
    }


def operating_table(
    labels: ArrayLike, scores: ArrayLike, thresholds: ArrayLike | None = None, rows: int = 21
) -> list[OperatingPoint]:
    """False alarms, missed units, precision, recall, and F1 for each threshold, one row each.

    Without `thresholds`, at most `rows` are chosen, rising: those with a false-alarm rate of 20, 10, 5, 2, 1, 0.5,
    0.2, 0.1, and 0 % on these normal scores, the highest without a missed unit, and others spread over the anomalous
    scores. All are scores of the data if possible. They use the labels, so they have no guarantee for new units.
    Raises UsageError for fewer than 2 rows.

    >>> table = operating_table([0, 0, 1, 1], [1, 3, 2, 4], rows=4)
    >>> [(row.threshold, row.false_alarms, row.missed) for row in table]
    [(1.0, 1, 0), (2.0, 1, 1), (3.0, 0, 1), (4.0, 0, 2)]
    """
    flags, values = labeled_scores(labels, scores)
    normal, anomalous = np.sort(values[~flags]), np.sort(values[flags])
    chosen = _choose_thresholds(normal, anomalous, rows) if thresholds is None else as_finite(thresholds, "thresholds")
    points = []
    for threshold in chosen:
        passed, missed = (int(np.searchsorted(group, threshold, side="right")) for group in (normal, anomalous))
        counts = Confusion(passed, normal.size - passed, missed, anomalous.size - missed)
        points.append(operating_point(float(threshold), counts))
    return points


def _check_pairs(labels: ArrayLike, verdicts: ArrayLike) -> tuple[BoolArray, BoolArray]:
    truth, flags = as_binary(labels, "labels"), as_binary(verdicts, "verdicts")
    if truth.size != flags.size:
        raise DataError(f"{truth.size} labels and {flags.size} verdicts; expected one verdict for each label")
    return truth, flags


def operating_point(threshold: float, confusion: Confusion) -> OperatingPoint:
    """Row of a threshold with these decisions."""
    detected, false_alarms = confusion.detected, confusion.false_alarm
    anomalies = detected + confusion.missed
    return OperatingPoint(
        threshold=threshold,
        false_alarms=false_alarms,
        false_alarms_per_100_normal=confusion.false_alarms_per_100_normal.per_100,
        missed=confusion.missed,
        missed_per_100_anomalous=confusion.missed_per_100_anomalous.per_100,
        precision=detected / (detected + false_alarms) if detected + false_alarms else None,
        recall=detected / anomalies if anomalies else None,
        f1=2 * detected / (anomalies + detected + false_alarms) if anomalies else None,
    )


def _choose_thresholds(normal: NDArray[np.float64], anomalous: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    if rows < 2:
        raise UsageError(f"rows={rows}: expected at least 2, for the two ends of the table")
    chosen = np.zeros(0)
    if normal.size:
        allowed = np.floor(np.array(_RATES) * normal.size + 1e-9).astype(np.int64)  # 0.07 * 100 is below 7
        chosen = normal[normal.size - 1 - allowed]
    if anomalous.size:
        below = normal[normal < anomalous[0]]
        chosen = np.append(chosen, below[-1] if below.size else np.nextafter(anomalous[0], -np.inf))
    chosen = np.unique(chosen)
    if chosen.size > rows:
        return chosen[_spread(chosen.size, rows)]
    fill = np.setdiff1d(anomalous if anomalous.size else normal, chosen)
    return np.union1d(chosen, fill[_spread(fill.size, rows - chosen.size)])


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """Choose at most `count` of `size` indices, evenly from the first to the last."""
    if size <= count:
        return np.arange(size)
    return np.unique(np.linspace(0, size - 1, count).round().astype(np.int64))


@dataclass(frozen=True, slots=True)
class ThresholdSweep:
    """Shares passed and detected over thresholds, on the test set."""

    thresholds: NDArray[np.float64]  # (K,) rising
    passed: NDArray[np.float64]  # (K,) share of the normal units not above the threshold, 0-1, rising
    detected: NDArray[np.float64]  # (K,) share of the anomalous units above the threshold, 0-1, falling


@dataclass(frozen=True, slots=True)
class OracleThreshold:
    """The best threshold, chosen with the labels of the test set."""

    threshold: float
    passed: float  # 0-1
    detected: float  # 0-1


def threshold_sweep(labels: ArrayLike, scores: ArrayLike) -> ThresholdSweep:
    """Compute shares passed and detected at every distinct threshold: below all scores, and at each score.

    >>> sweep = threshold_sweep([0, 0, 1], [1, 3, 2])
    >>> sweep.passed.tolist(), sweep.detected.tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0])
    """
    flags, values = labeled_scores(labels, scores)
    check_both_classes(int(flags.sum()), int((~flags).sum()), "labels")
    distinct = np.unique(values)
    thresholds = np.concatenate([[np.nextafter(distinct[0], -np.inf)], distinct])
    normal, anomalous = (np.sort(values[rows]) for rows in (~flags, flags))
    passed = np.searchsorted(normal, thresholds, side="right") / normal.size
    detected = 1 - np.searchsorted(anomalous, thresholds, side="right") / anomalous.size
    return ThresholdSweep(thresholds, passed, detected)


def oracle_threshold(sweep: ThresholdSweep) -> OracleThreshold:
    """Threshold with the highest sum of passed and detected: the middle of the range of equal thresholds.

    >>> oracle_threshold(threshold_sweep([0, 0, 1, 1], [1, 2, 4, 5]))
    OracleThreshold(threshold=3.0, passed=1.0, detected=1.0)
    """
    best = int(np.argmax(sweep.passed + sweep.detected))
    lower, upper = sweep.thresholds[best], sweep.thresholds[min(best + 1, sweep.thresholds.size - 1)]
    middle = lower / 2 + upper / 2
    middle = float(middle if lower < middle < upper else lower)  # adjacent floats have no middle
    return OracleThreshold(middle, float(sweep.passed[best]), float(sweep.detected[best]))


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Results of one class; `correct`, `median`, and `auroc` are of the test set."""

    name: str
    is_anomalous: bool
    counts: dict[str, int]  # units by split
    median: float | None  # score; None: no unit in the test set
    correct: Share | None  # passed or detected; None: no threshold
    auroc: float | None  # of an anomalous class against all normal units of the test set


@dataclass(frozen=True, slots=True)
class SplitRow:
    """Correct decisions in one split: normal units passed, anomalous units detected."""

    split: str
    count: int
    correct: Share | None  # None: no threshold


def class_rows(
    classes: Sequence[str],
    splits: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float | None,
    *,
    tested: Sequence[str],
) -> list[ClassRow]:
    """Compute a row for each class, normal ones first, otherwise in order of appearance.

    classes, splits, labels, scores: (R,) each. tested: splits of the test set. Raises DataError as in `metrics.image`.

    >>> class_rows(["good", "cut"], ["", ""], [0, 1], [1.0, 3.0], 2.0, tested=[""])[1].auroc
    1.0
    """
    flags, values = labeled_scores(labels, scores)
    correct = _correct(flags, values, threshold)
    names, unit_splits = np.asarray(classes, dtype=str), np.asarray(splits, dtype=str)
    is_tested = np.isin(unit_splits, tested)
    rows = []
    for name in dict.fromkeys(classes):
        in_class = names == name
        counted = in_class & is_tested
        is_anomalous = bool(flags[in_class].any())
        compared = counted | (is_tested & ~flags)
        has_both = is_anomalous and bool((is_tested & ~flags).any()) and bool(counted.any())
        rows.append(
            ClassRow(
                name=name,
                is_anomalous=is_anomalous,
                counts={split: int((in_class & (unit_splits == split)).sum()) for split in dict.fromkeys(splits)},
                median=float(np.median(values[counted])) if counted.any() else None,
                correct=None if correct is None else share(int(correct[counted].sum()), int(counted.sum())),
                auroc=image.auroc(flags[compared], values[compared]) if has_both else None,
            )
        )
    return sorted(rows, key=lambda row: row.is_anomalous)


def split_rows(
    splits: Sequence[str], labels: ArrayLike, scores: ArrayLike, threshold: float | None, *, order: Sequence[str]
) -> list[SplitRow]:
    """Compute a row for each split with units, in `order`; splits, labels, scores: (R,) each."""
    flags, values = labeled_scores(labels, scores)
    correct = _correct(flags, values, threshold)
    names = np.asarray(splits, dtype=str)
    rows = []
    for split in order:
        in_split = names == split
        if count := int(in_split.sum()):
            rows.append(SplitRow(split, count, None if correct is None else share(int(correct[in_split].sum()), count)))
    return rows


def _correct(
    flags: NDArray[np.bool_], values: NDArray[np.float64], threshold: float | None
) -> NDArray[np.bool_] | None:
    return None if threshold is None else np.asarray((values > threshold) == flags)
