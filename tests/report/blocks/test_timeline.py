from __future__ import annotations

import numpy as np

from offnormal.report.block import Plot, Plots
from offnormal.report.blocks import timeline as module
from offnormal.report.blocks.timeline import LARGE_SHOWN, SMALL_SHOWN, timelines
from tests.evaluations import Scored, clip_evaluation, video, video_evaluation

RNG = np.random.default_rng(2)


def plots(evaluation):
    elements = timelines(evaluation).elements
    large = [element for element in elements if isinstance(element, Plot)]
    small = [plot for element in elements if isinstance(element, Plots) for plot in element.plots]
    return large, small, elements[-1]


def test_few_videos_are_all_large_in_their_order():
    large, small, _ = plots(video_evaluation([video(RNG, name, 60, ((20, 30),)) for name in ("b", "a")]))
    assert [plot.title for plot in large] == ["b", "a"] and not small
    assert 'viewBox="0 0 1060 ' in large[0].svg and 'viewBox="0 0 380 ' in large[0].narrow
    assert large[0].about.startswith("0:12 · 60 frames · AUC ")
    assert "1 of 1 span detected" in large[0].about


def test_of_many_those_with_false_alarms_and_misses_are_large(monkeypatch):
    monkeypatch.setattr(module, "timeline", lambda series, *, width, **_: f"{series.name} {width}")
    labels = np.repeat([0, 1, 0], (5, 5, 20))
    items = [
        Scored(name=f"{i:03}", scores=1.0 + 50.0 * labels, labels=labels, fps=5.0)
        for i in range(LARGE_SHOWN + SMALL_SHOWN + 5)
    ]
    items[100].scores[20:25] = 60.0  # a false alarm
    items[50].scores[:] = 1.0  # a miss
    large, small, last = plots(video_evaluation(items))
    names = [plot.title for plot in large]
    assert len(names) == LARGE_SHOWN and {"050", "100"} <= set(names) and names == sorted(names)
    assert len(small) == SMALL_SHOWN and last.text == "and 5 more; scores.csv has every frame."
    assert not {plot.title for plot in small} & set(names)


def test_the_alarms_drawn_are_those_counted():
    """Two stretches a moment apart are one alarm, and so drawn as one bar."""
    item = video(RNG, "01", 100, labeled=False)
    item.scores[:] = 1.0
    item.scores[50:53] = item.scores[55:58] = 90.0
    bar = 'fill: var(--anomalous, #cf4f22)"'
    (plot,), _, _ = plots(video_evaluation([item]))
    assert plot.about.endswith("1 alarm")
    (drawn,) = [path for path in plot.svg.split("<path")[1:] if bar in path]
    assert drawn.count("M ") == 1
    (uncalibrated,), _, _ = plots(video_evaluation([item], calibration=None))
    assert bar not in uncalibrated.svg and "threshold" not in uncalibrated.svg


def test_clips_have_no_timeline():
    assert timelines(clip_evaluation()) is None
