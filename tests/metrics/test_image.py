from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import DataError, UsageError
from offnormal.metrics import image

from . import naive

FUNCTIONS = [
    image.auroc,
    image.average_precision,
    image.best_f1,
    image.roc_curve,
    image.precision_recall_curve,
]


@st.composite
def labeled(draw):
    """Labels of both classes with scores from a few values, so ties are frequent."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=20))]
    scores = draw(st.lists(st.integers(-4, 4), min_size=len(labels), max_size=len(labels)))
    return labels, scores


@given(labeled())
@settings(max_examples=60, deadline=None)
def test_equals_the_naive_loops(data):
    labels, scores = data
    assert image.auroc(labels, scores) == pytest.approx(naive.auroc(labels, scores), abs=1e-12)
    assert image.average_precision(labels, scores) == pytest.approx(naive.average_precision(labels, scores), abs=1e-12)
    f1, threshold = image.best_f1(labels, scores)
    hits, false, missed = naive.at_threshold(labels, scores, threshold)
    assert f1 == pytest.approx(naive.best_f1(labels, scores)[0], abs=1e-12)
    assert f1 == pytest.approx(2 * hits / (2 * hits + false + missed), abs=1e-12)


@given(labeled())
@settings(max_examples=30, deadline=None)
def test_only_the_order_of_the_scores_counts(data):
    labels, scores = data
    stretched = np.exp(np.asarray(scores)) + 7
    assert image.auroc(labels, scores) == pytest.approx(image.auroc(labels, stretched), abs=1e-12)
    assert image.auroc(labels, scores) == pytest.approx(1 - image.auroc(labels, -stretched), abs=1e-12)
    assert image.average_precision(labels, scores) == image.average_precision(labels, stretched)
    assert image.best_f1(labels, scores)[0] == image.best_f1(labels, stretched)[0]


def test_equals_the_reference_implementation(golden):
    assert image.auroc(golden["labels"], golden["image_scores"]) == pytest.approx(
        float(golden["image_auroc"]), abs=1e-9
    )
    assert image.auroc(golden["masks"] > 0, golden["scores"]) == pytest.approx(float(golden["pixel_auroc"]), abs=1e-9)
    f1, threshold = image.best_f1(golden["masks"] > 0, golden["scores"])
    assert f1 == pytest.approx(float(golden["f1_max"]), abs=1e-9)
    assert threshold == golden["f1_threshold"]


def test_equal_f1_gives_the_lowest_threshold():
    assert image.best_f1([1, 0, 1], [3, 2, 1]) == (pytest.approx(0.8), 1.0)
    assert image.best_f1([1, 0, 0, 1], [4, 3, 2, 1]) == (pytest.approx(2 / 3), 1.0)


def test_labels_and_scores_may_have_any_shape_and_type(tensor):
    plain = image.auroc([0, 1, 0, 1], [0.5, 0.25, 0.125, 1.0])
    scores = np.array([[0.5], [0.25], [0.125], [1.0]], np.float16)
    assert image.auroc([[False, True], [False, True]], scores) == plain
    assert image.auroc(tensor([0.0, 1.0, 0.0, 1.0]), tensor(scores)) == plain


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (
            [0, 1, 1],
            [0.1, float("nan"), float("inf")],
            r"scores: 2 of 3 .* the first at position 1; expected finite",
        ),
        ([0, 1], [0.1, 0.2, 0.3], r"shapes \(2,\) and \(3,\); expected one score for each label"),
        (np.eye(2, 3), np.ones((3, 2)), r"shapes \(2, 3\) and \(3, 2\)"),
        ([], [], r"labels: no values; expected at least one"),
        ([0, 0], [1, 2], r"all 2 are normal; .* add anomalous ones"),
        ([1, 1], [1, 2], r"all 2 are anomalous; .* add normal ones"),
        ([1, -1], [1, 2], r"labels: values -1; expected only 0 \(normal\) and 1 \(anomalous\)"),
        ([0, float("nan")], [1, 2], r"labels: values nan"),
        (["good", "cut"], [1, 2], r"labels: values of type <U4; expected numbers"),
        ([0, 1], [1, None], r"scores: values of type object"),
        ([0, 1], [[1, 2], [3]], r"scores: list is not an array"),
    ],
)
def test_errors_name_the_argument_and_the_fix(function, labels, scores, message):
    with pytest.raises(DataError, match=message):
        function(labels, scores)


def test_an_unreadable_tensor_is_named_with_the_fix(tensor):
    with pytest.raises(DataError, match=r"scores: Tensor is not an array .*\.detach\(\)\.float\(\)\.cpu\(\)"):
        image.auroc([0, 1], tensor([0, 1], RuntimeError("Can't call numpy() on Tensor that requires grad")))


def test_roc_curve_gives_the_rates_at_its_thresholds():
    labels, scores = [0, 1, 0, 1, 1], [1, 2, 3, 3, 5]
    false_rates, true_rates, thresholds = image.roc_curve(labels, scores)
    assert (thresholds[0], false_rates[0], true_rates[0]) == (np.inf, 0, 0)
    assert (false_rates[-1], true_rates[-1]) == (1, 1)
    for threshold, false_rate, true_rate in zip(thresholds, false_rates, true_rates, strict=True):
        hits, false, _ = naive.at_threshold(labels, scores, threshold)
        assert (true_rate, false_rate) == (hits / 3, false / 2)


def test_precision_recall_curve_gives_both_at_its_thresholds():
    labels, scores = [0, 1, 0, 1, 1], [1, 2, 3, 3, 5]
    recalls, precisions, thresholds = image.precision_recall_curve(labels, scores)
    assert (thresholds[-1], precisions[-1], recalls[-1]) == (np.inf, 1, 0)
    assert thresholds[:-1].tolist() == [1, 2, 3, 5]
    for threshold, precision, recall in zip(thresholds[:-1], precisions, recalls, strict=False):
        hits, false, _ = naive.at_threshold(labels, scores, threshold)
        assert (precision, recall) == (hits / (hits + false), hits / 3)


@pytest.mark.parametrize("points", [2, 7, 50])
def test_a_thinned_curve_keeps_its_ends_and_its_shape(golden, points):
    labels, scores = golden["masks"] > 0, golden["scores"]
    full, thin = (image.roc_curve(labels, scores, points=number) for number in (None, points))
    assert len(thin[2]) <= points < len(full[2])
    assert (thin[2][0], thin[2][-1]) == (full[2][0], full[2][-1])
    assert set(thin[2]) <= set(full[2])
    gaps = np.diff(thin[0]) + np.diff(thin[1])
    assert gaps.max() < 2 / (points - 1) + 0.05
    recall, _, _ = image.precision_recall_curve(labels, scores, points=points)
    assert len(recall) <= points
    assert (recall[0], recall[-1]) == (1, 0)
    with pytest.raises(UsageError, match="points=1: expected at least 2"):
        image.roc_curve(labels, scores, points=1)


def test_importing_the_metrics_loads_neither_scipy_nor_sklearn_nor_torch():
    names = ("accumulate", "decision", "image", "pixel", "video", "clock", "memory_use")
    code = (
        f"import sys, {', '.join('offnormal.metrics.' + name for name in names)}\n"
        "sys.exit(' '.join({'scipy', 'sklearn', 'torch'} & set(sys.modules)) or 0)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
