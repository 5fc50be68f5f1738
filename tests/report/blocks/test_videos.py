from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.report import video_tables
from tests.report.conftest import calibrated, frame_series, video_evaluation


def series(name, seed=0, frames=200, spans=((50, 90),), **given):
    return frame_series(np.random.default_rng(seed), name, frames, spans, **given)


def test_each_video_has_its_own_alarms_spans_and_reasons():
    first, second = series("01", gone=3), series("02", spans=(), labelled=False, fps=None)
    found = video_evaluation([first, second], not_scored={"01": [(0, 2, "too early"), (2, 3, "cut short")]})
    one, two = video_tables.videos(found)
    assert (one.frames, one.not_scored, one.scored, one.anomalous) == (200, 3, 197, 40)
    assert one.notes == ["2 not scored: too early", "1 not scored: cut short"] and two.notes == []
    assert one.length_s == 40.0 and two.length_s is None
    assert one.judged == 1 and two.judged == 0 and two.anomalous is None
    assert {alarm.video for alarm in one.alarms} == {"01"} and {alarm.video for alarm in two.alarms} <= {"02"}
    assert one.false_alarms + two.false_alarms == found.operation.false_alarms
    assert one.highest == np.nanmax(first.scores)


def test_spans_come_missed_first_then_slowest_and_are_capped():
    scores = np.ones(4000)
    labels = np.zeros(4000, bool)
    for number in range(130):
        labels[30 * number : 30 * number + 10] = True
        if number:  # the first is missed
            scores[30 * number + number % 9] = 50.0
    one = replace(series("01", frames=4000), scores=scores, labels=labels)
    shown, more = video_tables.spans(video_evaluation([one]))
    assert (len(shown), more) == (100, 30)
    assert shown[0].delay_s is None
    delays = [span.delay_s for span in shown[1:]]
    assert delays == sorted(delays, reverse=True) and delays[0] == pytest.approx(8 / 5)


def test_alarms_come_false_first_then_by_their_peak():
    shown, more = video_tables.alarms(video_evaluation([series("01", lift=9.0), series("02", 4)]))
    assert more == 0 and shown
    false = [line.alarm.false for line in shown]
    assert false == sorted(false, reverse=True)
    peaks = [line.score for line in shown if line.alarm.false]
    assert peaks == sorted(peaks, reverse=True)
    assert video_tables.alarms(video_evaluation([series("01")], calibration=None)) == ([], 0)


def test_metrics_missing_for_one_reason_stand_together():
    found = video_evaluation([series("01", labelled=False)], smooth_s=1.0, calibration=None)
    gaps = {gap.name: gap.reason for gap in video_tables.gaps(found)}
    assert gaps["frame_AUC_micro, frame_EER, frame_AP, frame_AUC_macro, and 12 variants"].startswith("no frame has")
    assert gaps["pixel metrics"] == "there are no masks" and "threshold and verdicts" in gaps
    assert "threshold and verdicts" not in {
        gap.name for gap in video_tables.gaps(video_evaluation([series("01")], calibration=calibrated()))
    }


def test_remarks_are_capped():
    found = video_evaluation([series("01")], warnings={"01": [f"warning {i}" for i in range(40)]})
    shown, more = video_tables.remarks(found)
    assert (shown[0].name, shown[0].reason, len(shown), more) == ("01", "warning 0", 25, 15)
