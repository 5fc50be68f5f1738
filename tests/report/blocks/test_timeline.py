from __future__ import annotations

import numpy as np

from offnormal.drawing.axis import axis_for
from offnormal.report import video_tables, video_timelines
from offnormal.report.video_timelines import LARGE_SHOWN, SMALL_SHOWN, timelines
from tests.report.conftest import frame_series, video_evaluation

RNG = np.random.default_rng(2)


def charts(series, **given):
    found = video_evaluation(series, **given)
    return timelines(found, video_tables.videos(found), axis_for([one.scores for one in series]))


def test_few_videos_are_all_large_in_their_order():
    shown = charts([frame_series(RNG, name, 60, ((20, 30),)) for name in ("b", "a")])
    assert [chart.name for chart in shown.large] == ["b", "a"] and not shown.small and not shown.left_out
    assert 'viewBox="0 0 1060 ' in shown.large[0].wide and 'viewBox="0 0 380 ' in shown.large[0].narrow
    assert shown.large[0].about.startswith("0:12 · 60 frames · AUC ")
    assert "of 1 span caught" in shown.large[0].about


def test_of_many_those_with_false_alarms_and_misses_are_large(monkeypatch):
    monkeypatch.setattr(video_timelines, "timeline", lambda scores, *, width, **given: f"{scores.name} {width}")
    series = [frame_series(RNG, f"{i:03}", 30, ((5, 10),), lift=50.0) for i in range(LARGE_SHOWN + SMALL_SHOWN + 5)]
    for one in series:
        one.scores[10:], one.scores[:5] = 1.0, 1.0
    series[100].scores[20] = 60.0  # a false alarm
    series[50].scores[:] = 1.0  # a miss
    shown = charts(series)
    large = [chart.name for chart in shown.large]
    assert len(large) == LARGE_SHOWN and {"050", "100"} <= set(large) and large == sorted(large)
    assert len(shown.small) == SMALL_SHOWN and shown.left_out == 5
    assert not {chart.name for chart in shown.small} & set(large)


def test_the_alarms_drawn_are_those_counted():
    """Two alarms a moment apart are one, and so drawn as one bar."""
    one = frame_series(RNG, "01", 100, labelled=False)
    one.scores[:] = 1.0
    one.scores[[50, 54]] = 90.0
    bar = 'fill: var(--anomalous, #cf4f22)"'
    (chart,) = charts([one]).large
    assert chart.about.endswith("1 alarm")
    (drawn,) = [path for path in chart.wide.split("<path")[1:] if bar in path]
    assert drawn.count("M ") == 1
    (uncalibrated,) = charts([one], calibration=None).large
    assert bar not in uncalibrated.wide and "threshold" not in uncalibrated.wide
