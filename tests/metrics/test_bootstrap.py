from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import DataError
from offnormal.metrics import bootstrap as module
from offnormal.metrics import image
from offnormal.metrics.bootstrap import drawn_mean, drawn_metrics, draws, interval
from offnormal.metrics.video import frame_eer


def test_doctests():
    assert doctest.testmod(module).failed == 0


def naive(labels, scores, units, weights):
    """Ordinary metrics of scores repeated as often as their unit was drawn."""
    counts = weights[units].astype(int)
    labels, scores = np.repeat(labels, counts), np.repeat(scores, counts)
    return {
        "AUC": image.auroc(labels, scores),
        "AP": image.average_precision(labels, scores),
        "F1": image.best_f1(labels, scores)[0],
        "EER": frame_eer(labels, scores)[0],
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([2, 5, 10_000]))
def test_metrics_of_draws_equal_metrics_of_repeated_scores(seed, units, levels):
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, units, 80)
    labels = rng.integers(0, 2, 80).astype(bool)
    scores = (rng.integers(0, levels, 80) + labels).astype(float)
    weights = draws(units, 5, seed)
    metrics = drawn_metrics(labels, scores, unit, weights)
    for row, counts in enumerate(weights):
        for name, value in naive(labels, scores, unit, counts).items():
            assert metrics[name][row] == pytest.approx(value, abs=1e-9), name


def test_more_distinct_scores_than_bins_change_little():
    rng = np.random.default_rng(5)
    labels = np.arange(6000) % 3 == 0
    scores, unit = rng.normal(labels, 1.0), np.arange(6000) // 600
    weights = draws(10, 3)
    metrics = drawn_metrics(labels, scores, unit, weights)
    for row, counts in enumerate(weights):
        for name, value in naive(labels, scores, unit, counts).items():
            assert metrics[name][row] == pytest.approx(value, abs=2e-3), name


def test_draws_are_reproducible_and_as_large_as_the_data():
    drawn = draws(7, 50, seed=3)
    assert drawn.shape == (50, 7) and (drawn.sum(axis=1) == 7).all() and len(np.unique(drawn, axis=0)) > 40
    np.testing.assert_array_equal(drawn, draws(7, 50, seed=3))
    assert not np.array_equal(drawn, draws(7, 50, seed=4))
    with pytest.raises(DataError, match="at least 2"):
        draws(1)


def test_portions_give_the_same_metrics(monkeypatch):
    rng = np.random.default_rng(2)
    labels, scores, unit, weights = rng.integers(0, 2, 50), rng.normal(size=50), np.arange(50) % 5, draws(5, 20)
    whole = drawn_metrics(labels, scores, unit, weights)
    monkeypatch.setattr(module, "_MAX_VALUES", 120)
    for name, values in drawn_metrics(labels, scores, unit, weights).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_draw_of_one_class_is_nan_and_many_nan_give_no_interval():
    metrics = drawn_metrics([0, 0, 1, 1], [1, 2, 3, 4], [0, 0, 1, 1], np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert all(np.isnan(values[1:]).all() and np.isfinite(values[0]) for values in metrics.values())
    assert interval(np.array([np.nan, np.nan, 0.3])) is None
    assert interval(np.array([np.nan, 0.2, 0.3])) is not None
    assert interval(np.zeros(0)) is None


def test_the_interval_has_its_stated_coverage():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        values = rng.normal(size=30)
        low, high = interval(drawn_mean(values, draws(30, 400, seed=int(rng.integers(1 << 30)))))
        hits += low <= 0 <= high
    assert 0.86 < hits / 200 < 0.99
