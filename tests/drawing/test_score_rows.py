import re

import numpy as np
import pytest

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.score_rows import box, strip, whiskers

AXIS = ScoreAxis("linear", 0.0, 10.0)


def test_whiskers_end_at_the_furthest_score_within_reach():
    places = np.array([0.0, 4, 5, 5, 6, 6, 7, 20])
    low, first, middle, third, high = whiskers(places)
    assert (first, middle, third) == pytest.approx(np.percentile(places, (25, 50, 75)))
    reach = 1.5 * (third - first)
    inside = [place for place in places if first - reach <= place <= third + reach]
    assert (low, high) == (min(inside), max(inside))


def test_one_clip_is_a_box_of_no_width():
    assert whiskers(np.array([3.0])) == (3.0, 3.0, 3.0, 3.0, 3.0)


def test_places_are_those_of_the_axis():
    drawn = box(np.array([2.0, 4.0, np.nan, 6.0]), AXIS, threshold=9.0, colour="normal")
    assert 'class="limit" d="M900.0 ' in drawn
    assert re.search(r'class="middle"[^>]*d="M400\.0 ', drawn)
    assert re.search(r'class="body"[^>]*d="M300\.0 5H500\.0', drawn)


def test_no_clip_draws_the_threshold_alone():
    drawn = box(np.zeros(0), AXIS, threshold=5.0, colour="normal")
    assert "limit" in drawn
    assert "body" not in drawn


def test_each_score_has_its_stroke():
    drawn = strip(np.array([0.0, 5.0, np.nan, 10.0, 5.0]), ScoreAxis("linear", 0, 10), threshold=2.0, colour="normal")
    assert re.findall(r"M(\d+) 4v12", drawn) == ["0", "500", "1000"]
    assert 'class="limit" d="M200 0' in drawn and "var(--normal)" in drawn


def test_no_scores_and_no_threshold():
    drawn = strip(np.zeros(0), ScoreAxis("linear", 0, 10), threshold=None, colour="normal")
    assert "limit" not in drawn and 'd=""' in drawn
