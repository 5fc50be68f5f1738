"""How good decisions are: misses and false alarms at one threshold and over many, by class, and by split.

A unit is called anomalous where its score is *above* the threshold (score > threshold), as everywhere a calibrated
threshold decides. A class is a type of anomaly ("scratch") or of activity ("walking"). Labels and verdicts are 0/1 or
booleans, 1 = anomalous; DataError for anything else.
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
_RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0)  # false-alarm rates that people ask for

Report = dict[str, dict[str, float] | float]


@dataclass(frozen=True, slots=True)
class Share:
    """So many parts of so many, and the 95 % interval of their true number per 100 (Clopper-Pearson)."""

    count: int
    of: int
    per_100: float | None  # None where `of` is 0
    low: float  # per 100
    high: float  # per 100


@dataclass(frozen=True, slots=True)
class Confusion:
    """Decisions against labels, as numbers of parts."""

    true_normal: int
    false_alarm: int  # normal, called anomalous
    escape: int  # anomalous, called normal
    caught: int

    @property
    def false_alarms_per_100_good(self) -> Share:
        """False alarms among the normal parts."""
        return share(self.false_alarm, self.true_normal + self.false_alarm)

    @property
    def escapes_per_100_bad(self) -> Share:
        """Escapes among the anomalous parts."""
        return share(self.escape, self.escape + self.caught)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one threshold does; None where there are no parts to divide by."""

    threshold: float
    false_alarms: int
    false_alarms_per_100_good: float | None
    escapes: int
    escapes_per_100_bad: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def share(count: int, of: int) -> Share:
    """`count` of `of` parts per 100, with its exact (Clopper-Pearson) 95 % interval.

    The interval never guarantees more than the data hold: 0 of 20 still leaves up to 16.8 per 100 open. Source:
    Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934) 404-413, by quantiles
    of the beta distribution. Raises UsageError unless 0 <= count <= of.

    >>> none = share(0, 20)
    >>> none.per_100, none.low, round(none.high, 1)
    (0.0, 0.0, 16.8)
    """
    from scipy.special import betaincinv

    if not 0 <= count <= of:
        raise UsageError(f"share of {count} in {of}: expected 0 <= count <= of")
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return Share(count, of, 100 * count / of if of else None, 100 * low, 100 * high)


def confusion(labels: ArrayLike, verdicts: ArrayLike) -> Confusion:
    """Count the four kinds of decisions; one class alone is fine.

    >>> counts = confusion([0, 0, 0, 1], [0, 1, 0, 1])
    >>> counts, counts.false_alarms_per_100_good.per_100
    (Confusion(true_normal=2, false_alarm=1, escape=0, caught=1), 33.333333333333336)
    """
    truth, called = _paired(labels, verdicts)
    counts = np.bincount(2 * truth + called, minlength=4)
    return Confusion(*(int(count) for count in counts))


def classification_report(labels: ArrayLike, verdicts: ArrayLike) -> Report:
    """scikit-learn's classification report as a dict, for JSON.

    Keys "normal", "anomalous", "macro avg" and "weighted avg" hold precision, recall, f1-score and support;
    "accuracy" is a number, and what scikit-learn calls the micro average where each part has one class. What
    is undefined for want of parts is 0.

    >>> classification_report([0, 0, 1, 1], [0, 1, 1, 1])["normal"]
    {'precision': 1.0, 'recall': 0.5, 'f1-score': 0.6666666666666666, 'support': 2.0}
    """
    from sklearn.metrics import classification_report as sklearn_report

    truth, called = _paired(labels, verdicts)
    report = sklearn_report(
        truth, called, labels=[0, 1], target_names=["normal", "anomalous"], zero_division=0, output_dict=True
    )
    return {
        name: {key: float(number) for key, number in value.items()} if isinstance(value, dict) else float(value)
        for name, value in report.items()
    }


def operating_table(
    labels: ArrayLike, scores: ArrayLike, thresholds: ArrayLike | None = None, rows: int = 21
) -> list[OperatingPoint]:
    """False alarms, escapes, precision, recall and F1 for each threshold, one row each.

    Without `thresholds` at most `rows` are chosen, rising: those that keep the false-alarm rate on these
    normal scores at 20, 10, 5, 2, 1, 0.5, 0.2, 0.1 and 0 %, the highest that lets nothing escape, and between
    and beyond them some that spread over the scores of the anomalous parts. All are scores seen, where there
    are any below. They look at the labels: they show the trade, and guarantee nothing for new parts. Raises
    UsageError for fewer than 2 rows.

    >>> table = operating_table([0, 0, 1, 1], [1, 3, 2, 4], rows=4)
    >>> [(row.threshold, row.false_alarms, row.escapes) for row in table]
    [(1.0, 1, 0), (2.0, 1, 1), (3.0, 0, 1), (4.0, 0, 2)]
    """
    flags, values = labeled_scores(labels, scores)
    normal, anomalous = np.sort(values[~flags]), np.sort(values[flags])
    chosen = _thresholds(normal, anomalous, rows) if thresholds is None else as_finite(thresholds, "thresholds")
    points = []
    for threshold in chosen:
        passed, missed = (int(np.searchsorted(group, threshold, side="right")) for group in (normal, anomalous))
        counts = Confusion(passed, normal.size - passed, missed, anomalous.size - missed)
        points.append(operating_point(float(threshold), counts))
    return points


def _paired(labels: ArrayLike, verdicts: ArrayLike) -> tuple[BoolArray, BoolArray]:
    truth, called = as_binary(labels, "labels"), as_binary(verdicts, "verdicts")
    if truth.size != called.size:
        raise DataError(f"labels and verdicts: got {truth.size} and {called.size}; expected one verdict for each label")
    return truth, called


def operating_point(threshold: float, confusion: Confusion) -> OperatingPoint:
    """The row of a threshold that makes these decisions."""
    caught, false_alarms = confusion.caught, confusion.false_alarm
    anomalies = caught + confusion.escape
    return OperatingPoint(
        threshold=threshold,
        false_alarms=false_alarms,
        false_alarms_per_100_good=confusion.false_alarms_per_100_good.per_100,
        escapes=confusion.escape,
        escapes_per_100_bad=confusion.escapes_per_100_bad.per_100,
        precision=caught / (caught + false_alarms) if caught + false_alarms else None,
        recall=caught / anomalies if anomalies else None,
        f1=2 * caught / (anomalies + caught + false_alarms) if anomalies else None,
    )


def _thresholds(normal: NDArray[np.float64], anomalous: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    if rows < 2:
        raise UsageError(f"rows={rows}: an operating table needs at least 2, its two ends")
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


def _spread(size: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` places of `size`, evenly from the first to the last."""
    if size <= wanted:
        return np.arange(size)
    return np.unique(np.linspace(0, size - 1, wanted).round().astype(np.int64))


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


def threshold_sweep(labels: ArrayLike, scores: ArrayLike) -> ThresholdSweep:
    """Shares passed and detected at every threshold that makes a difference: below all scores, and at each of them.

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
    """Where passed and detected are highest together; of a range of thresholds that do the same its middle.

    >>> oracle_threshold(threshold_sweep([0, 0, 1, 1], [1, 2, 4, 5]))
    OracleThreshold(threshold=3.0, passed=1.0, detected=1.0)
    """
    best = int(np.argmax(sweep.passed + sweep.detected))
    lower, upper = sweep.thresholds[best], sweep.thresholds[min(best + 1, sweep.thresholds.size - 1)]
    middle = lower / 2 + upper / 2
    middle = float(middle if lower < middle < upper else lower)  # neighboring numbers have none between them
    return OracleThreshold(middle, float(sweep.passed[best]), float(sweep.detected[best]))


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
    flags, values = labeled_scores(labels, scores)
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
    flags, values = labeled_scores(labels, scores)
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
