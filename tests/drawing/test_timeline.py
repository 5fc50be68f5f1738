from __future__ import annotations

import doctest
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.drawing import timeline as module
from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.figure import COLORS
from offnormal.drawing.timeline import envelope, timeline
from offnormal.metrics.clock import runs
from offnormal.metrics.video import FrameScores

PLOT_LEFT, WIDTH = 46, 1002  # pixels of the plot area
RNG = np.random.default_rng(3)


def hour(peak=None):
    """An hour at 5 frames/s with labeled spans, unscored frames, and scores that flicker around a threshold of 4."""
    scores = RNG.normal(3, 0.7, 18_066)
    scores[:2], scores[9000:9300] = np.nan, np.nan
    if peak is not None:
        scores[peak] = 9.9
    return FrameScores("00.mp4", scores, np.arange(18_066) // 900 % 4 == 1, np.arange(18_066) / 5)


def paths(svg, style):
    return [match[0] for match in re.findall(r'<path d="([^"]*)"([^>]*)>', svg) if style in match[1]]


def rectangles(svg, style):
    """Return left and right ends of the rectangles of one style, in pixels of the plot area."""
    drawn = paths(svg, style)
    corners = [re.findall(r"M ([\d.]+) [\d.]+ L [\d.]+ [\d.]+ L ([\d.]+)", path) for path in drawn]
    return [(float(left) - PLOT_LEFT, float(right) - PLOT_LEFT) for path in corners for left, right in path]


def line(svg):
    """Return the points (P, 2) of the score line in pixels from the left and bottom of the plot area."""
    (drawn,) = paths(svg, "fill: none; stroke: var(--normal")
    points = np.array([float(number) for number in re.findall(r"-?[\d.]+", drawn)]).reshape(-1, 2)
    return np.column_stack([points[:, 0] - PLOT_LEFT, 148 - points[:, 1]])


ALARM, LABEL, HATCH = "fill: var(--anomalous, #cf4f22)\"", "opacity: 0.16", "fill: url("  # fmt: skip


def test_doctests():
    assert doctest.testmod(module).failed == 0


def test_an_hour_is_small_and_well_formed_and_follows_the_page():
    svg = timeline(hour(), threshold=4.0)
    ElementTree.fromstring(svg)
    assert len(svg) < 40_000, "even with flickering alarms"
    assert len(timeline(hour(), threshold=8.0)) < 30_000
    assert "http" not in svg and "<script" not in svg and "font-family" not in svg
    for color in COLORS.values():
        assert color not in svg.replace(f", {color})", ""), f"{color} does not follow the page"
    assert 'aria-label="Score over time of 00.mp4"' in svg and "threshold 4" in svg


@pytest.mark.parametrize("peak", [2, 777, 8999, 9300, 18_065])
def test_no_peak_is_lost(peak):
    points = line(timeline(hour(peak), threshold=8.0, axis=ScoreAxis("linear", 0, 10)))
    highest = points[points[:, 1].argmax()]
    assert highest[1] == pytest.approx(9.9 / 10 * 128, abs=0.2)
    assert highest[0] == pytest.approx((peak + 0.5) / 18_066 * WIDTH, abs=0.2)


@given(st.lists(st.sampled_from([-2.0, 0.0, 1.0, 3.0, np.nan]), min_size=1, max_size=60), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_envelope_keeps_the_extremes_of_every_column(values, columns):
    y = np.array(values)
    x = (np.arange(y.size) + 0.5) / y.size
    thin_x, thin_y = envelope(x, y, columns)
    assert thin_x.size <= 2 * columns and (np.diff(thin_x) > 0).all()
    assert set(zip(thin_x[~np.isnan(thin_y)], thin_y[~np.isnan(thin_y)], strict=True)) <= set(zip(x, y, strict=True))
    for column in range(columns):
        original, thinned = (part[(at * columns).astype(int) == column] for at, part in ((x, y), (thin_x, thin_y)))
        if np.isfinite(original).any():
            assert (np.nanmin(original), np.nanmax(original)) == (thinned.min(), thinned.max())
    if columns >= 60:
        assert np.isnan(thin_y).sum() == len(runs(np.isnan(y)))


def test_the_line_is_broken_at_unscored_frames():
    x = (np.arange(9) + 0.5) / 9
    y = np.array([1, 2, np.nan, np.nan, 3, np.nan, 1, 1, 1])
    np.testing.assert_array_equal(envelope(x, y, 90)[1], [1, 2, np.nan, 3, np.nan, 1, 1, 1])


def test_spans_alarms_and_unscored_frames_are_at_their_times():
    scores = np.zeros(100)
    scores[20:30], scores[60:62], scores[90:] = 9, 9, np.nan
    video = FrameScores("v", scores, (np.arange(100) >= 15) & (np.arange(100) < 40), np.arange(100) / 4)
    svg = timeline(video, threshold=5.0)

    def pixels(start, stop):
        return pytest.approx((start / 100 * WIDTH, stop / 100 * WIDTH), abs=0.1)

    assert rectangles(svg, LABEL) == [pixels(15, 40)]
    assert rectangles(svg, ALARM) == [pixels(20, 30), pixels(60, 62)]
    assert rectangles(svg, HATCH) == [pixels(90, 100)]
    merged_alarm = timeline(video, threshold=5.0, alarms=[(20, 62)])
    assert rectangles(merged_alarm, ALARM) == [pixels(20, 62)]


def test_a_single_frame_in_a_long_video_is_visible():
    scores = np.zeros(18_066)
    scores[7000] = 9
    ((left, right),) = rectangles(timeline(FrameScores("v", scores), threshold=5.0), ALARM)
    assert right - left == pytest.approx(2, abs=0.2)
    assert left < 7000.5 / 18_066 * WIDTH < right


def test_very_close_alarms_are_merged():
    scores = np.full(WIDTH * 10, 9.0)  # ten frames a pixel
    scores[3000:3010], scores[6000:6040] = 0, 0
    drawn = rectangles(timeline(FrameScores("v", scores), threshold=5.0), ALARM)
    assert drawn == [pytest.approx((0, 600), abs=0.1), pytest.approx((604, 1002), abs=0.1)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(10, {"0:00", "0:05", "0:09"}), (3613, {"0:00", "10:00", "1:00:00"}), (90_000, {"8:00:00", "24:00:00"})],
)
def test_the_time_axis_shows_clock_times(seconds, words):
    video = FrameScores("v", np.arange(50.0), None, np.linspace(0, seconds, 50))
    assert words <= set(re.findall(r">([\d:]+)</text>", timeline(video, threshold=None)))


def test_without_a_clock_frames_are_numbered():
    svg = timeline(FrameScores("v", np.arange(250.0)), threshold=None)
    assert ">frame</text>" in svg and ">time</text>" not in svg and ">200</text>" in svg


@pytest.mark.parametrize(
    "video",
    [
        FrameScores("one", [3.0], [1], [0.0]),
        FrameScores("blind", [np.nan, np.nan], [0, 1]),
        FrameScores("constant", [0.0] * 7),
        FrameScores("heavy", [*RNG.gamma(4, 0.5, 900), 500.0], None, np.arange(901) / 25 - 3),
        FrameScores("<&>", [-5.0, np.nan, 4000.0]),
    ],
)
@pytest.mark.parametrize("threshold", [None, 2.0, -1e6])
def test_any_video_can_be_drawn(video, threshold):
    for width in (1060, 380):
        ElementTree.fromstring(timeline(video, threshold=threshold, width=width))


def test_two_videos_on_one_page_share_no_ids():
    drawn = [timeline(FrameScores(name, [1.0, np.nan]), threshold=None) for name in "ab"]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in drawn]
    assert ids[0] and not ids[0] & ids[1]
