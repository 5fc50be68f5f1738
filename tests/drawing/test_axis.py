from __future__ import annotations

import numpy as np
import pytest

from offnormal.drawing.axis import ScoreAxis, axis_for


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
def test_axis_bends_only_where_scores_differ_widely(scores, kind):
    axis = axis_for([scores])
    assert axis.kind == kind and axis.low < axis.high
    finite = scores[np.isfinite(scores)]
    places = axis.position(finite)
    assert ((places >= 0) & (places <= 1)).all()
    assert np.array_equal(np.argsort(places, kind="stable"), np.argsort(finite, kind="stable"))


def test_threshold_is_on_the_axis():
    axis = axis_for([np.array([1.0, 2.0])], threshold=7.0)
    assert 0 < axis.position(np.array([7.0]))[0] < 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "axis", [ScoreAxis("linear", 2, 9e5), ScoreAxis("log", 1, 1e4), ScoreAxis("asinh", -5, 1e3, 2)]
)
def test_edges_look_equally_wide(axis):
    edges = axis.edges(20)
    assert (edges[0], edges[-1]) == (axis.low, axis.high)
    assert axis.position(edges) == pytest.approx(np.linspace(0, 1, 21))


@pytest.mark.parametrize(
    "axis", [ScoreAxis("log", 23, 722), ScoreAxis("log", 1e-3, 1e4), ScoreAxis("asinh", -5, 1e3, 2)]
)
def test_ticks_are_few_and_apart(axis):
    ticks = axis.ticks(8)
    assert 2 <= len(ticks) <= 8
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    assert np.diff(axis.position(np.array(ticks))).min() > 0.05
