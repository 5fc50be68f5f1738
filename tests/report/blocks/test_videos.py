from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.drawing.wording import NONE
from offnormal.report.block import Plot, Plots
from offnormal.report.blocks import videos as module
from offnormal.report.blocks.videos import LARGE_LIMIT, SMALL_LIMIT, alarms, spans, timelines, video_lines, videos
from tests.evaluations import Scored, calibrated, clip_evaluation, image_evaluation, street, video, video_evaluation
from tests.report.blocks.test_summary import AT_ONCE


def series(name, seed=0, frames=200, spans=((50, 90),), **options):
    return video(np.random.default_rng(seed), name, frames, spans, **options)


def titles(block):
    return [column.title for column in block.elements[-1].columns]


def test_each_video_has_its_own_alarms_spans_and_reasons():
    first = replace(series("01", gone=3), reasons=((0, 2, "too early"), (2, 3, "cut short")))
    second = series("02", spans=(), labeled=False)
    evaluation = video_evaluation([first, second])
    first_line, second_line = video_lines(evaluation)
    assert (first_line.row.frames, first_line.row.not_scored, first_line.row.anomalous) == (200, 3, 40)
    assert first_line.notes == ["2 not scored: too early", "1 not scored: cut short"] and second_line.notes == []
    assert first_line.series.clock.seconds == 40.0
    assert first_line.scored_spans == 1 and second_line.scored_spans == 0 and second_line.row.anomalous is None
    assert {row.video for row in first_line.alarms} == {"01"} and {row.video for row in second_line.alarms} <= {"02"}
    assert first_line.false_alarms + second_line.false_alarms == evaluation.alarms.false_alarms
    assert first_line.highest == np.nanmax(first.scores)


def test_columns_that_nothing_fills_are_left_out():
    assert titles(videos(video_evaluation())) == [
        "video", "length", "frames", "not scored", "anomalous frames", "AUC", "spans detected", "false alarms",
        "highest score", "notes",
    ]  # fmt: skip
    unlabeled = videos(video_evaluation([series("01", labeled=False)]))
    assert titles(unlabeled) == ["video", "length", "frames", "not scored", "alarms", "highest score"]
    no_clock = videos(video_evaluation([series("01", labeled=False, fps=None)], calibration=None))
    assert no_clock.elements[0].rows[0][:4] == ["01", NONE, "200", "0"]
    assert videos(image_evaluation()) is None


def test_spans_come_missed_first_then_slowest_and_are_capped():
    scores, labels = np.ones(4000), np.zeros(4000)
    for number in range(130):
        labels[30 * number : 30 * number + 10] = 1
        if number:  # the first is missed
            scores[30 * number + number % 9] = 50.0
    item = Scored(name="01", scores=scores, labels=labels, fps=5.0)
    table = spans(video_evaluation([item], rules=AT_ONCE)).elements[-1]
    assert (len(table.rows), table.more) == (100, 30)
    assert table.rows[0][-1].badge == "missed" and table.rows[0][3] == "0 to 9"
    assert table.rows[1][-1] == "1.6 s" and table.rows[-1][-1] in ("0.2 s", "0.4 s", "0.6 s")


def test_alarms_come_false_first_then_by_their_peak():
    items = [series("01", lift=9.0), series("02", 4)]
    evaluation = video_evaluation(items, rules=AT_ONCE, calibration=replace(calibrated("frame"), threshold=7.0))
    note, table = alarms(evaluation).elements
    assert note.text.endswith("Rules: at least 0 s long, gaps up to 1 s are merged.")
    kinds = [row[-1] for row in table.rows]
    assert set(kinds) == {"false", "true"} and kinds == sorted(kinds)
    peaks = [float(row[-2]) for row in table.rows if row[-1] == "false"]
    assert len(peaks) > 1 and peaks == sorted(peaks, reverse=True)
    assert alarms(video_evaluation(calibration=None)) is None and spans(video_evaluation(calibration=None)) is None
    assert titles(alarms(video_evaluation(street(labeled=False))))[-1] == "peak score"


def test_a_span_that_was_not_scored_is_neither_missed_nor_detected():
    video = series("01", frames=100, spans=((0, 10), (50, 60)), gone=10)
    table = spans(video_evaluation([video])).elements[-1]
    assert [getattr(row[-1], "note", "") for row in table.rows] == ["not scored", ""]
    assert video_lines(video_evaluation([video]))[0].missed == 0


@pytest.mark.parametrize("labels", [True, False])
def test_the_peak_of_an_alarm_is_in_its_own_video(labels):
    quiet = Scored(name="a", scores=np.ones(50), labels=np.zeros(50) if labels else None, fps=5.0)
    loud = replace(quiet, name="b", scores=np.where(np.arange(50) == 30, 99.0, 1.0))
    table = alarms(video_evaluation([quiet, loud], rules=AT_ONCE)).elements[-1]
    assert table.rows[0][0] == "b" and table.rows[0][4:6] == ["30", "99.00"]


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
        for i in range(LARGE_LIMIT + SMALL_LIMIT + 5)
    ]
    items[100].scores[20:25] = 60.0  # a false alarm
    items[50].scores[:] = 1.0  # a miss
    large, small, last = plots(video_evaluation(items))
    names = [plot.title for plot in large]
    assert len(names) == LARGE_LIMIT and {"050", "100"} <= set(names) and names == sorted(names)
    assert len(small) == SMALL_LIMIT and last.text == "and 5 more; scores.csv lists all frames."
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
