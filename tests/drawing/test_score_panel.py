from __future__ import annotations

import doctest

import numpy as np
import pytest

from offnormal.drawing import score_panel as module
from offnormal.drawing.score_panel import ALARM, ScorePanel

NORMAL, ABOVE, LABELED, INK = (82, 130, 180), (240, 132, 90), (64, 224, 208), (232, 235, 240)


def make_panel(width=600, threshold=5.0, score_range=(0.0, 10.0), fps=10.0):
    """Create a panel; at a width of 600, one second is 20 columns."""
    return ScorePanel(width, fps, threshold, score_range)


def heights(drawn, color):
    """Count the pixels of a color in each column."""
    return (drawn == color).all(axis=2).sum(axis=0)


def test_doctests():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("width", [64, 480, 1920])
def test_a_panel_keeps_its_size(width):
    score_panel = make_panel(width)
    for frame in range(3):
        assert score_panel.draw(frame / 10, 3.0, anomalous=True, label=1).shape == (score_panel.height, width, 3)


def test_columns_follow_the_scores_and_move_with_time():
    score_panel = make_panel()
    chart = 3 * 14
    score_panel.draw(0.0, 2.0)
    score_panel.draw(1.0, 4.0)
    drawn = score_panel.draw(1.5, 8.0)
    below, above = heights(drawn, NORMAL), heights(drawn, ABOVE)
    assert below[-32] == 0, "before the first frame"
    assert below[-31:-11] == pytest.approx(0.2 * chart, abs=1.5)
    assert below[-11:-1] == pytest.approx(0.4 * chart, abs=1.5)
    assert above[-1] == pytest.approx(0.8 * chart, abs=3) and below[-1] == 0
    assert above[:-1].sum() == 0


def test_several_frames_in_one_column_show_the_highest():
    score_panel = make_panel(fps=1000)
    for score in (1.0, 9.0, 1.0):
        drawn = score_panel.draw(0.001, score)
    assert heights(drawn, ABOVE)[-1] > 30


def test_unscored_frames_and_gaps_stay_empty():
    score_panel = make_panel()
    score_panel.draw(0.0, 9.0)
    score_panel.draw(0.5, None)
    drawn = score_panel.draw(1.0, float("nan"))
    assert (heights(drawn, ABOVE)[-11:] == 0).all() and (heights(drawn, ABOVE)[-21:-11] > 0).all()
    drawn = score_panel.draw(500.0, 9.0)
    assert (heights(drawn, ABOVE) > 0).sum() == 1
    drawn = score_panel.draw(510.0, 9.0)
    assert (heights(drawn, ABOVE) > 0).sum() == 2, "nothing is drawn across ten seconds without a frame"


def test_a_score_at_the_threshold_is_not_above_it():
    assert heights(make_panel().draw(0.0, 5.0), ABOVE).sum() == 0
    assert heights(make_panel().draw(0.0, 5.01), ABOVE).sum() > 0
    assert heights(make_panel(threshold=None).draw(0.0, 99.0), ABOVE).sum() == 0


def test_the_threshold_line_is_at_its_height():
    drawn = make_panel().draw(0.0, None)
    (rows,) = np.unique(np.nonzero((drawn[28:70] == INK).all(axis=2))[0])[None]
    assert rows == pytest.approx(21, abs=1), "half of a chart of 42 pixels"


def test_labeled_frames_are_marked_below_the_chart():
    score_panel = make_panel()
    score_panel.draw(0.0, 1.0, label=1)
    drawn = score_panel.draw(0.5, 1.0, label=0)[70:]
    assert np.flatnonzero(heights(drawn, LABELED)).tolist() == list(range(589, 599))
    score_panel.draw(1.0, 1.0, label=1)
    drawn = score_panel.draw(11.0, 1.0, label=0)[70:]
    assert (heights(drawn, LABELED) > 0).sum() == 11, "a label does not last across ten seconds without a frame"


def test_the_verdict_is_visible():
    assert heights(make_panel().draw(0.0, 9.0, anomalous=True), ALARM).sum() > 500
    for verdict in (False, None):
        assert heights(make_panel().draw(0.0, 9.0, anomalous=verdict), ALARM).sum() == 0


@pytest.mark.parametrize("threshold", [None, 3.0, -2.0])
@pytest.mark.parametrize("scores", [[None], [1e30, -1e30], [0.0, 0.0], [None, 7.0]])
def test_without_a_range_any_scores_can_be_drawn(threshold, scores):
    score_panel = make_panel(threshold=threshold, score_range=None)
    with np.errstate(all="raise"):
        for frame, score in enumerate(scores):
            score_panel.draw(frame / 10, score)
