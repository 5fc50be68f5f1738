import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnormal.metrics.clips import best_by_hindsight, class_rows, clip_metrics, part_rows, trade

from offnormal.errors import DataError

LABELS = np.array([0, 0, 0, 0, 1, 1, 1])
SCORES = np.array([1.0, 2.0, 2.0, 5.0, 2.0, 4.0, 6.0])


def naive(labels, scores, threshold):
    kept = [score <= threshold for label, score in zip(labels, scores, strict=True) if label == 0]
    caught = [score > threshold for label, score in zip(labels, scores, strict=True) if label == 1]
    return sum(kept) / len(kept), sum(caught) / len(caught)


def test_every_threshold_keeps_and_catches_as_counted():
    found = trade(LABELS, SCORES)
    assert np.all(np.diff(found.thresholds) > 0)
    for threshold, kept, caught in zip(found.thresholds, found.kept, found.caught, strict=True):
        assert (kept, caught) == pytest.approx(naive(LABELS, SCORES, threshold))


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30))
def test_no_threshold_is_better_than_that_of_hindsight(rows):
    labels, scores = [int(label) for label, _ in rows], [float(score) for _, score in rows]
    if len(set(labels)) < 2:
        with pytest.raises(DataError):
            trade(labels, scores)
        return
    best = best_by_hindsight(trade(labels, scores))
    assert (best.kept, best.caught) == pytest.approx(naive(labels, scores, best.threshold))
    for threshold in np.arange(-5, 5, 0.5):
        assert sum(naive(labels, scores, threshold)) <= best.kept + best.caught + 1e-12


def test_auroc_is_the_share_of_pairs_in_order():
    pairs = [(a > n) + (a == n) / 2 for a in SCORES[LABELS == 1] for n in SCORES[LABELS == 0]]
    assert clip_metrics(LABELS, SCORES)["clip_AUROC"] == pytest.approx(np.mean(pairs))


def test_parts_are_counted_at_the_threshold_where_equal_is_kept():
    parts = ["train", "train", "calibration", "test", "anomalous", "anomalous", "anomalous"]
    rows = part_rows(parts, LABELS, SCORES, 2.0, order=("train", "calibration", "test", "anomalous"))
    assert [(row.part, row.right.count, row.right.of) for row in rows] == [
        ("train", 2, 2),
        ("calibration", 1, 1),
        ("test", 0, 1),
        ("anomalous", 2, 3),
    ]
    assert part_rows(parts, LABELS, SCORES, None, order=("test",))[0].right is None


def test_classes_are_judged_by_the_clips_tested_on_alone():
    actions = ["run", "run", "kick", "run", "lift", "lift", "walk"]
    parts = ["train", "test", "test", "calibration", "anomalous", "anomalous", "anomalous"]
    rows = {row.action: row for row in class_rows(actions, parts, LABELS, SCORES, 2.0, tested=("test", "anomalous"))}
    assert list(rows) == ["run", "kick", "lift", "walk"]
    assert rows["run"].counts == {"train": 1, "test": 1, "calibration": 1, "anomalous": 0}
    assert (rows["run"].right.count, rows["run"].right.of, rows["run"].median) == (1, 1, 2.0)
    assert rows["run"].auroc is None
    assert rows["lift"].auroc == pytest.approx(0.75)  # 2 and 4 against 2 and 2
    assert rows["walk"].right.count == 1
