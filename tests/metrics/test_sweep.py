import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.errors import DataError
from offnormal.metrics.sweep import oracle_threshold, threshold_sweep

LABELS = np.array([0, 0, 0, 0, 1, 1, 1])
SCORES = np.array([1.0, 2.0, 2.0, 5.0, 2.0, 4.0, 6.0])


def naive(labels, scores, threshold):
    passed = [score <= threshold for label, score in zip(labels, scores, strict=True) if label == 0]
    detected = [score > threshold for label, score in zip(labels, scores, strict=True) if label == 1]
    return sum(passed) / len(passed), sum(detected) / len(detected)


def test_every_threshold_passes_and_detects_as_counted():
    sweep = threshold_sweep(LABELS, SCORES)
    assert np.all(np.diff(sweep.thresholds) > 0)
    for threshold, passed, detected in zip(sweep.thresholds, sweep.passed, sweep.detected, strict=True):
        assert (passed, detected) == pytest.approx(naive(LABELS, SCORES, threshold))


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30))
def test_no_threshold_is_better_than_the_oracle(rows):
    labels, scores = [int(label) for label, _ in rows], [float(score) for _, score in rows]
    if len(set(labels)) < 2:
        with pytest.raises(DataError):
            threshold_sweep(labels, scores)
        return
    best = oracle_threshold(threshold_sweep(labels, scores))
    assert (best.passed, best.detected) == pytest.approx(naive(labels, scores, best.threshold))
    assert best.balanced_accuracy == pytest.approx((best.passed + best.detected) / 2)
    for threshold in np.arange(-5, 5, 0.5):
        assert sum(naive(labels, scores, threshold)) <= best.passed + best.detected + 1e-12
