from __future__ import annotations

import json
from dataclasses import astuple
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from offnormal.errors import DataError, UsageError
from offnormal.metrics import decision
from offnormal.metrics.decision import class_rows, oracle_threshold, split_rows, threshold_sweep

LABELS = [0, 0, 0, 0, 1, 1, 1]
VERDICTS = [0, 1, 0, 0, 1, 0, 1]
SCORES = [0.1, 0.7, 0.3, 0.2, 0.9, 0.25, 0.8]


def binomial_tail(count, total, chance):
    """Probability of at least `count` hits."""
    return sum(comb(total, hits) * chance**hits * (1 - chance) ** (total - hits) for hits in range(count, total + 1))


@st.composite
def labeled(draw):
    """Labels, perhaps of one class only, with scores from a few values, so ties are frequent."""
    labels = draw(st.lists(st.integers(0, 1), min_size=1, max_size=25))
    return labels, draw(st.lists(st.integers(-5, 5), min_size=len(labels), max_size=len(labels)))


@given(labeled())
@settings(max_examples=40, deadline=None)
def test_confusion_counts(data):
    labels, scores = data
    verdicts = [score > 0 for score in scores]
    pairs = list(zip(labels, verdicts, strict=True))
    counted = decision.confusion(labels, verdicts)
    assert astuple(counted) == tuple(pairs.count(pair) for pair in ((0, False), (0, True), (1, False), (1, True)))


def test_confusion_has_missed_units_and_false_alarms_per_100():
    counted = decision.confusion(LABELS, VERDICTS)
    assert (counted.passed, counted.false_alarm, counted.missed, counted.detected) == (3, 1, 1, 2)
    assert counted.false_alarms_per_100_normal == decision.share(1, 4)
    assert counted.missed_per_100_anomalous == decision.share(1, 3)
    assert decision.confusion([0, 0], [0, 1]).missed_per_100_anomalous.per_100 is None


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (7, 9), (20, 20), (1, 1), (3, 500)])
def test_the_interval_ends_at_a_tail_probability_of_one_in_forty(count, total):
    share = decision.share(count, total)
    assert (share.count, share.total, share.per_100) == (count, total, pytest.approx(100 * count / total))
    if count:
        assert binomial_tail(count, total, share.low / 100) == pytest.approx(0.025)
    if count < total:
        assert 1 - binomial_tail(count + 1, total, share.high / 100) == pytest.approx(0.025)
    assert (share.low == 0, share.high == 100) == (count == 0, count == total)


def test_the_interval_without_units_is_0_to_100():
    assert decision.share(0, 0) == decision.Share(0, 0, None, 0.0, 100.0)
    with pytest.raises(UsageError, match="count 3, total 2: expected 0 <= count <= total"):
        decision.share(3, 2)


@pytest.mark.parametrize("verdicts", [VERDICTS, [0] * 7, [1] * 7])
def test_report_equals_scikit_learn(verdicts):
    report = decision.classification_report(LABELS, verdicts)
    names = ["normal", "anomalous"]
    assert report == sklearn_metrics.classification_report(
        LABELS, verdicts, target_names=names, zero_division=0, output_dict=True
    )
    assert list(report) == [*names, "accuracy", "macro avg", "weighted avg"]
    assert json.loads(json.dumps(report)) == report


def test_report_equals_calculated_values():
    report = decision.classification_report(LABELS, VERDICTS)
    assert report["anomalous"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1-score": 2 / 3, "support": 3})
    assert report["normal"] == pytest.approx({"precision": 3 / 4, "recall": 3 / 4, "f1-score": 3 / 4, "support": 4})
    assert report["accuracy"] == pytest.approx(5 / 7)
    assert report["macro avg"]["recall"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert report["weighted avg"]["recall"] == pytest.approx((3 * 2 / 3 + 4 * 3 / 4) / 7)


def test_report_of_one_class_has_both_classes():
    report = decision.classification_report([0, 0], [0, 0])
    assert report["anomalous"] == {"precision": 0, "recall": 0, "f1-score": 0, "support": 0}
    assert report["accuracy"] == 1


@given(labeled(), st.one_of(st.none(), st.lists(st.integers(-6, 6), min_size=1, max_size=6)), st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_every_row_of_the_table_counts_the_decisions_at_its_threshold(data, thresholds, rows):
    labels, scores = data
    table = decision.operating_table(labels, scores, thresholds, rows)
    normal, anomalous = labels.count(0), labels.count(1)
    for row in table:
        verdicts = [score > row.threshold for score in scores]
        alarms = sum(call and not label for label, call in zip(labels, verdicts, strict=True))
        detected = sum(call and label for label, call in zip(labels, verdicts, strict=True))
        assert (row.false_alarms, row.missed) == (alarms, anomalous - detected)
        assert row.false_alarms_per_100_normal == (100 * alarms / normal if normal else None)
        assert row.missed_per_100_anomalous == (100 * (anomalous - detected) / anomalous if anomalous else None)
        assert row.precision == (detected / (detected + alarms) if detected + alarms else None)
        assert row.recall == (detected / anomalous if anomalous else None)
        assert row.f1 == (pytest.approx(2 * detected / (anomalous + detected + alarms)) if anomalous else None)
    table_thresholds = [row.threshold for row in table]
    if thresholds is None:
        assert 1 <= len(table_thresholds) <= rows
        assert table_thresholds == sorted(set(table_thresholds))
    else:
        assert table_thresholds == thresholds


@given(labeled())
@settings(max_examples=60, deadline=None)
def test_the_table_has_thresholds_without_missed_units_and_without_false_alarms(data):
    labels, scores = data
    table = decision.operating_table(labels, scores)
    anomalous = labels.count(1)
    if anomalous:
        lossless = [row for row in table if row.missed == 0]
        below = [
            score
            for label, score in zip(labels, scores, strict=True)
            if not label and score < min(score for label, score in zip(labels, scores, strict=True) if label)
        ]
        assert min(row.false_alarms for row in lossless) == labels.count(0) - len(below)
    if anomalous < len(labels):
        quiet = [row for row in table if row.false_alarms == 0]
        top = max(score for label, score in zip(labels, scores, strict=True) if not label)
        missed = sum(label and score <= top for label, score in zip(labels, scores, strict=True))
        assert min(row.missed for row in quiet) == missed


def test_the_table_has_common_false_alarm_rates():
    random = np.random.default_rng(0)
    labels, scores = np.repeat([0, 1], [1000, 60]), np.r_[random.normal(0, 1, 1000), random.normal(3, 1, 60)]
    table = decision.operating_table(labels, scores)
    assert len(table) == 21
    assert {200, 100, 50, 20, 10, 5, 2, 1, 0} <= {row.false_alarms for row in table}
    assert (table[0].missed, table[-1].missed) == (0, 60)
    assert [row.missed for row in table] == sorted(row.missed for row in table)
    assert np.diff([row.missed for row in table]).max() <= 20
    short = decision.operating_table(labels, scores, rows=4)
    assert (len(short), short[0].missed, short[-1].false_alarms) == (4, 0, 0)


def test_the_table_has_the_highest_threshold_without_a_missed_unit():
    table = decision.operating_table([0] * 10 + [1], [*range(10), 4.5])
    assert (table[0].threshold, table[0].false_alarms, table[0].missed) == (4, 5, 0)


def test_the_table_of_normal_units_alone_has_false_alarms():
    table = decision.operating_table([0] * 100, range(100))
    assert (table[0].threshold, table[-1].threshold) == (0, 99)
    assert {20, 10, 5, 2, 1, 0} <= {row.false_alarms for row in table}
    assert {row.recall for row in table} == {None}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: decision.confusion([0, 1], [0, 1, 1]),
            "2 labels and 3 verdicts; expected one verdict",
        ),
        (lambda: decision.confusion([0, 1], [0.2, 1]), "verdicts: values 0.2; expected only 0"),
        (lambda: decision.confusion([0, 1], [None, True]), "verdicts: values of type object"),
        (lambda: decision.classification_report([], []), "labels: no values"),
        (lambda: decision.classification_report([2], [1]), "labels: values 2"),
        (lambda: decision.operating_table([0, 1], [0, np.nan]), "scores: 1 of 2 values are NaN"),
        (
            lambda: decision.operating_table([0, 1], [0, 1], [np.inf]),
            "thresholds: 1 of 1 values are NaN or infinite",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_a_table_needs_two_rows():
    with pytest.raises(UsageError, match="rows=1: expected at least 2"):
        decision.operating_table(LABELS, SCORES, rows=1)


FLAGS = np.array([0, 0, 0, 0, 1, 1, 1])
TIED = np.array([1.0, 2.0, 2.0, 5.0, 2.0, 4.0, 6.0])


def test_a_score_equal_to_the_threshold_passes_in_splits():
    splits = ["train", "train", "calibration", "test", "anomalous", "anomalous", "anomalous"]
    rows = split_rows(splits, FLAGS, TIED, 2.0, order=("train", "calibration", "test", "anomalous"))
    assert [(row.split, row.correct.count, row.correct.total) for row in rows] == [
        ("train", 2, 2),
        ("calibration", 1, 1),
        ("test", 0, 1),
        ("anomalous", 2, 3),
    ]
    assert split_rows(splits, FLAGS, TIED, None, order=("test",))[0].correct is None


def test_class_results_use_only_the_test_set():
    classes = ["run", "run", "kick", "run", "lift", "lift", "walk"]
    splits = ["train", "test", "test", "calibration", "anomalous", "anomalous", "anomalous"]
    rows = {row.name: row for row in class_rows(classes, splits, FLAGS, TIED, 2.0, tested=("test", "anomalous"))}
    assert list(rows) == ["run", "kick", "lift", "walk"]
    assert rows["run"].counts == {"train": 1, "test": 1, "calibration": 1, "anomalous": 0}
    assert (rows["run"].correct.count, rows["run"].correct.total, rows["run"].median) == (1, 1, 2.0)
    assert rows["run"].auroc is None and not rows["run"].is_anomalous
    assert rows["lift"].auroc == pytest.approx(0.75)  # 2 and 4 against 2 and 2
    assert rows["walk"].correct.count == 1


def test_types_of_anomaly_without_splits():
    normal, cut = class_rows(["good", "good", "cut"], ["", "", ""], [0, 0, 1], [1.0, 3.0, 2.0], 1.5, tested=("",))
    assert (normal.correct.count, normal.correct.total) == (1, 2)
    assert (cut.correct.count, cut.auroc) == (1, 0.5)


def test_a_class_without_normal_units_has_no_auroc():
    (row,) = class_rows(["cut"], [""], [1], [2.0], None, tested=("",))
    assert (row.auroc, row.correct, row.median) == (None, None, 2.0)


def passed_and_detected(labels, scores, threshold):
    passed = [score <= threshold for label, score in zip(labels, scores, strict=True) if label == 0]
    detected = [score > threshold for label, score in zip(labels, scores, strict=True) if label == 1]
    return sum(passed) / len(passed), sum(detected) / len(detected)


def test_the_sweep_counts_passed_and_detected_units():
    sweep = threshold_sweep(FLAGS, TIED)
    assert np.all(np.diff(sweep.thresholds) > 0)
    for threshold, passed, detected in zip(sweep.thresholds, sweep.passed, sweep.detected, strict=True):
        assert (passed, detected) == pytest.approx(passed_and_detected(FLAGS, TIED, threshold))


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30))
def test_no_threshold_is_better_than_the_oracle(rows):
    labels, scores = [int(label) for label, _ in rows], [float(score) for _, score in rows]
    if len(set(labels)) < 2:
        with pytest.raises(DataError):
            threshold_sweep(labels, scores)
        return
    best = oracle_threshold(threshold_sweep(labels, scores))
    assert (best.passed, best.detected) == pytest.approx(passed_and_detected(labels, scores, best.threshold))
    for threshold in np.arange(-5, 5, 0.5):
        assert sum(passed_and_detected(labels, scores, threshold)) <= best.passed + best.detected + 1e-12
