from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from offnormal.drawing.axis import axis_for
from offnormal.drawing.figure import COLORS
from offnormal.drawing.plots import histogram, precision_recall, roc, sweep
from offnormal.errors import DataError
from offnormal.metrics.decision import oracle_threshold, threshold_sweep

RNG = np.random.default_rng(3)
NORMAL, ANOMALOUS = RNG.normal(5, 1, 80), RNG.normal(9, 2, 50)
KINDS = ("normal images", "anomalous images")
LABELS, SCORES = np.repeat([0, 1], (80, 50)), np.concatenate([NORMAL, ANOMALOUS])
SWEEP = threshold_sweep(LABELS, SCORES)


def every_plot():
    groups = {"normal": NORMAL, "anomalous": ANOMALOUS}
    return {
        "histogram": histogram(groups, NORMAL, threshold=7.0),
        "narrow": histogram(groups, NORMAL, threshold=7.0, width=380),
        "roc": roc(LABELS, SCORES, at=(0.1, 0.8), kinds=KINDS),
        "precision_recall": precision_recall(LABELS, SCORES, at=(0.8, 0.9), kinds=KINDS),
        "sweep": sweep(SWEEP, oracle_threshold(SWEEP), threshold=7.0, axis=axis_for([SCORES], 7.0)),
    }


def path_in(svg, color, *, axes):
    """Return the points of the longest line of a color, in data units of `axes` (x and y ends).

    Margins of the plot area: 46 px left, 12 right, 20 top, and 42 bottom.
    """
    width, height = (int(side) for side in re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    matches = re.findall(rf'd="([^"]+)"[^>]*fill: none; stroke: var\(--{color},', svg)
    points = np.array([float(number) for number in re.findall(r"-?[\d.]+", max(matches, key=len))]).reshape(-1, 2)
    (x_low, x_high), (y_low, y_high) = axes
    return (
        x_low + (points[:, 0] - 46) / (width - 58) * (x_high - x_low),
        y_high - (points[:, 1] - 20) / (height - 62) * (y_high - y_low),
    )


def test_plots_are_well_formed_small_and_self_contained():
    plots = every_plot()
    for name, svg in plots.items():
        ElementTree.fromstring(svg)
        assert "http" not in svg and "<script" not in svg and "xmlns" not in svg, name
        assert len(svg) < 40_000, name
        for color in COLORS.values():
            assert color not in svg.replace(f", {color})", ""), f"{name}: {color} does not follow the page"
        assert "font-family" not in svg
    assert 'viewBox="0 0 380 260"' in plots["narrow"]


def test_ids_differ_between_plots():
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in every_plot().values()]
    assert sum(len(matches) for matches in ids) == len(set().union(*ids))


def test_roc_matches_scikit_learn_and_marks_the_threshold():
    from sklearn.metrics import roc_curve

    svg = roc(LABELS, SCORES, at=(0.1, 0.8), kinds=KINDS)
    x, y = path_in(svg, "normal", axes=((0, 100), (0, 100)))
    false_rate, true_rate, _ = roc_curve(LABELS, SCORES)
    for x_value, height in zip(x, y, strict=True):
        near = np.hypot(100 * false_rate - x_value, 100 * true_rate - height).min()
        assert near < 0.5
    assert "at the threshold" in svg
    assert "at the threshold" not in roc(LABELS, SCORES, at=None, kinds=KINDS)


def test_the_sweep_plots_passed_and_detected():
    axis = axis_for([SCORES], 7.0)
    svg = sweep(SWEEP, oracle_threshold(SWEEP), threshold=7.0, axis=axis)
    assert "oracle threshold" in svg and "threshold 7" in svg
    assert "oracle threshold" not in sweep(SWEEP, None, threshold=None, axis=axis)
    for color, naive in (
        ("normal", lambda at: 100 * np.mean(at >= NORMAL)),
        ("anomalous", lambda at: 100 * np.mean(at < ANOMALOUS)),
    ):
        x, y = path_in(svg, color, axes=((axis.low, axis.high), (0, 100)))
        assert len(x) > 20
        for x_value, height in zip(x[::10], y[::10], strict=True):
            step = (axis.high - axis.low) / 300
            lower, upper = sorted((naive(x_value - step), naive(x_value + step)))
            assert lower - 0.5 <= height <= upper + 0.5


def test_a_sweep_of_many_scores_stays_small():
    scores = np.random.default_rng(0).normal(size=50_000) + np.arange(50_000) % 2
    drawn = sweep(threshold_sweep(np.arange(50_000) % 2, scores), None, threshold=None, axis=axis_for([scores]))
    assert len(drawn) < 60_000


def test_the_histogram_labels_the_threshold_and_skips_empty_groups():
    svg = histogram({"normal": NORMAL, "anomalous": np.zeros(0)}, np.zeros(0), threshold=7.25)
    assert "threshold 7.25" in svg
    assert "--normal" in svg and "--anomalous" not in svg and "stroke-dasharray" not in svg
    assert "stroke-dasharray" in histogram({"normal": NORMAL}, NORMAL, threshold=None)


def test_histogram_bars_are_percentages_of_their_group():
    """Twice as many images give the same drawing."""
    groups = {"normal": np.repeat(NORMAL, 2), "anomalous": np.repeat(ANOMALOUS, 4)}
    once = histogram({name: np.tile(scores, 9) for name, scores in groups.items()}, NORMAL, threshold=7.0)
    twice = histogram({name: np.tile(scores, 18) for name, scores in groups.items()}, NORMAL, threshold=7.0)
    assert once == twice


@pytest.mark.parametrize(
    "scores",
    [
        np.array([1.0, 2.0, 3.0, 4000.0]),
        np.append(np.linspace(-1, 1, 99), 500.0),
        np.full(4, 2.0),
        np.zeros(4),
        np.array([1.0]),
        np.zeros(0),
        np.array([np.nan, 1.0, 2.0]),
    ],
)
def test_a_histogram_of_any_scores_is_drawn(scores):
    ElementTree.fromstring(histogram({"unknown": scores}, np.zeros(0), threshold=None))


def test_curves_need_both_classes():
    with pytest.raises(DataError):
        roc(np.zeros(3), np.arange(3.0), at=None, kinds=KINDS)
