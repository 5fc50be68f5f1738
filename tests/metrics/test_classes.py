import numpy as np
import pytest

from offnormal.metrics.classes import class_rows, split_rows

LABELS = np.array([0, 0, 0, 0, 1, 1, 1])
SCORES = np.array([1.0, 2.0, 2.0, 5.0, 2.0, 4.0, 6.0])


def test_splits_are_counted_at_the_threshold_where_equal_passes():
    splits = ["train", "train", "calibration", "test", "anomalous", "anomalous", "anomalous"]
    rows = split_rows(splits, LABELS, SCORES, 2.0, order=("train", "calibration", "test", "anomalous"))
    assert [(row.split, row.correct.count, row.correct.of) for row in rows] == [
        ("train", 2, 2),
        ("calibration", 1, 1),
        ("test", 0, 1),
        ("anomalous", 2, 3),
    ]
    assert split_rows(splits, LABELS, SCORES, None, order=("test",))[0].correct is None


def test_classes_are_judged_by_the_units_tested_on_alone():
    classes = ["run", "run", "kick", "run", "lift", "lift", "walk"]
    splits = ["train", "test", "test", "calibration", "anomalous", "anomalous", "anomalous"]
    rows = {row.name: row for row in class_rows(classes, splits, LABELS, SCORES, 2.0, tested=("test", "anomalous"))}
    assert list(rows) == ["run", "kick", "lift", "walk"]
    assert rows["run"].counts == {"train": 1, "test": 1, "calibration": 1, "anomalous": 0}
    assert (rows["run"].correct.count, rows["run"].correct.of, rows["run"].median) == (1, 1, 2.0)
    assert rows["run"].auroc is None and not rows["run"].is_anomalous
    assert rows["lift"].auroc == pytest.approx(0.75)  # 2 and 4 against 2 and 2
    assert rows["walk"].correct.count == 1


def test_types_of_anomaly_without_splits():
    good, cut = class_rows(["good", "good", "cut"], ["", "", ""], [0, 0, 1], [1.0, 3.0, 2.0], 1.5, tested=("",))
    assert (good.correct.count, good.correct.of) == (1, 2)
    assert (cut.correct.count, cut.auroc) == (1, 0.5)


def test_a_class_without_normal_units_has_no_auroc():
    (row,) = class_rows(["cut"], [""], [1], [2.0], None, tested=("",))
    assert (row.auroc, row.correct, row.median) == (None, None, 2.0)
