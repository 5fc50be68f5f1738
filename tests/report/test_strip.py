from __future__ import annotations

import re

import numpy as np

from offnormal.report.axis import ScoreAxis
from offnormal.report.strip import strip


def test_each_score_has_its_stroke():
    drawn = strip(np.array([0.0, 5.0, 10.0, 5.0]), ScoreAxis("linear", 0, 10), threshold=2.0, colour="normal")
    assert re.findall(r"M(\d+) 4v12", drawn) == ["0", "500", "1000"]
    assert 'class="limit" d="M200 0' in drawn and "var(--normal)" in drawn


def test_no_scores_and_no_threshold():
    drawn = strip(np.zeros(0), ScoreAxis("linear", 0, 10), threshold=None, colour="normal")
    assert "limit" not in drawn and 'd=""' in drawn
