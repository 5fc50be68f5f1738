from __future__ import annotations

import re

import numpy as np
import pytest

from offnormal.drawing.axis import ScoreAxis, axis_for, box, strip, whiskers


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        (np.linspace(10, 40, 50), "linear"),
        (np.linspace(-4, 4, 50), "linear"),
        (np.array([1.0, 2.0, 3.0, 900.0]), "log"),
        (np.append(np.linspace(-1, 1, 99), 500.0), "asinh"),
        (np.full(5, 3.0), "linear"),
        (np.zeros(0), "linear"),
        (np.array([np.nan, np.inf, 1.0]), "linear"),
    ],
)
def test_the_axis_is_nonlinear_only_for_wide_ranges(scores, kind):
    axis = axis_for([scores])
    assert axis.kind == kind and axis.low < axis.high
    finite = scores[np.isfinite(scores)]
    positions = axis.position(finite)
    assert ((positions >= 0) & (positions <= 1)).all()
    assert np.array_equal(np.argsort(positions, kind="stable"), np.argsort(finite, kind="stable"))


def test_normal_scores_are_no_line_beside_many_anomalies():
    normal = np.random.default_rng(0).normal(0, 1, 60)
    axis = axis_for([np.concatenate([normal, np.linspace(50, 30_000, 60)]), normal], 3.0)
    assert axis.kind == "asinh" and np.ptp(axis.position(normal)) > 0.2


def test_a_score_near_0_does_not_stretch_a_logarithmic_axis():
    axis = axis_for([np.append(np.linspace(10, 20, 50), [1e-6, 400.0])])
    assert axis.kind == "log" and np.ptp(axis.position(np.array([10.0, 20.0]))) > 0.07


def test_the_threshold_is_on_the_axis():
    axis = axis_for([np.array([1.0, 2.0])], threshold=7.0)
    assert 0 < axis.position(np.array([7.0]))[0] < 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "axis", [ScoreAxis("linear", 2, 9e5), ScoreAxis("log", 1, 1e4), ScoreAxis("asinh", -5, 1e3, 2)]
)
def test_bins_are_equally_wide_on_the_axis(axis):
    edges = axis.edges(20)
    assert (edges[0], edges[-1]) == (axis.low, axis.high)
    assert axis.position(edges) == pytest.approx(np.linspace(0, 1, 21))


@pytest.mark.parametrize(
    "axis", [ScoreAxis("log", 23, 722), ScoreAxis("log", 1e-3, 1e4), ScoreAxis("asinh", -5, 1e3, 2)]
)
def test_ticks_are_few_and_well_apart(axis):
    ticks = axis.ticks(8)
    assert 2 <= len(ticks) <= 8
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    assert np.diff(axis.position(np.array(ticks))).min() > 0.05


AXIS = ScoreAxis("linear", 0.0, 10.0)


def test_whiskers_end_at_the_furthest_score_within_reach():
    positions = np.array([0.0, 4, 5, 5, 6, 6, 7, 20])
    low, first, middle, third, high = whiskers(positions)
    assert (first, middle, third) == pytest.approx(np.percentile(positions, (25, 50, 75)))
    reach = 1.5 * (third - first)
    inside = [x for x in positions if first - reach <= x <= third + reach]
    assert (low, high) == (min(inside), max(inside))


def test_one_score_is_a_box_of_zero_width():
    assert whiskers(np.array([3.0])) == (3.0, 3.0, 3.0, 3.0, 3.0)


def test_positions_follow_the_axis():
    drawn = box(np.array([2.0, 4.0, np.nan, 6.0]), AXIS, threshold=9.0, color="normal")
    assert 'class="limit" d="M900.0 ' in drawn
    assert re.search(r'class="middle"[^>]*d="M400\.0 ', drawn)
    assert re.search(r'class="body"[^>]*d="M300\.0 5H500\.0', drawn)


def test_without_scores_only_the_threshold_is_drawn():
    drawn = box(np.zeros(0), AXIS, threshold=5.0, color="normal")
    assert "limit" in drawn
    assert "body" not in drawn


def test_each_score_has_its_stroke():
    drawn = strip(np.array([0.0, 5.0, np.nan, 10.0, 5.0]), ScoreAxis("linear", 0, 10), threshold=2.0, color="normal")
    assert re.findall(r"M(\d+) 4v12", drawn) == ["0", "500", "1000"]
    assert 'class="limit" d="M200 0' in drawn and "var(--normal)" in drawn


def test_an_empty_strip_without_a_threshold_is_drawn():
    drawn = strip(np.zeros(0), ScoreAxis("linear", 0, 10), threshold=None, color="normal")
    assert "limit" not in drawn and 'd=""' in drawn
