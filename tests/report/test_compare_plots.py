from __future__ import annotations

import doctest
import re
from xml.etree import ElementTree

import numpy as np

from offnormal.metrics.video import FrameScores
from offnormal.report import compare_plots as module
from offnormal.report.compare_plots import key, lane, roc_curves, styles


def test_doctests():
    assert doctest.testmod(module).failed == 0


def test_runs_are_told_apart_without_color():
    chosen = styles(9)
    assert len({(style.dashes, style.marker) for style in chosen}) == 9
    drawn = [key(style) for style in chosen]
    for svg in drawn:
        ElementTree.fromstring(svg)
    assert len({re.sub(r"--run-\d", "", svg) for svg in drawn}) == 9


def test_every_curve_takes_the_page_s_color():
    labels = np.arange(200) % 2
    rng = np.random.default_rng(0)
    svg = roc_curves(labels, [rng.normal(labels, 1.0) for _ in range(9)], unit="frames", width=560)
    ElementTree.fromstring(svg)
    for style in styles(9):
        assert f"var(--run-{style.number}, {style.color})" in svg
        assert svg.count(style.color) == svg.count(f"var(--run-{style.number}, {style.color})")
    assert svg.count("stroke-dasharray") >= 8


def path(svg, kind):
    return re.findall(rf'class="{kind}"[^>]* d="([^"]*)"', svg)


def test_a_lane_shows_spans_gaps_threshold_and_line():
    ranks = np.array([0.0, 1.0, np.nan, 0.5, np.nan, 0.25, 0.75, 1.0, 0.0, 0.5])
    video = FrameScores("v", ranks, np.arange(10) >= 5, np.arange(10.0))
    svg = lane(video, ranks, styles(1)[0], 0.9, 'A on "v" <b>')
    ElementTree.fromstring(svg)
    assert path(svg, "span") == ["M500.0 -5H1000.0V105H500.0z"]
    assert path(svg, "gap") == ["M200.0 -5H300.0V105H200.0zM400.0 -5H500.0V105H400.0z"]
    assert path(svg, "level") == ["M0 10H1000"]
    assert path(svg, "line") == ["M50 100 150 0M350 50h1M550 75 650 25 750 0 850 100 950 50"]
    assert "<b>" not in svg


def test_a_long_lane_stays_small():
    ranks = np.random.default_rng(0).random(100_000)
    assert len(lane(FrameScores("v", ranks), ranks, styles(1)[0], None, "v")) < 12_000
