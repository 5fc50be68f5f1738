import math

import numpy as np
import pytest

from offnormal.evaluation.alarms import report_alarms
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores

RULES = EventRules(min_duration_s=1.0, merge_gap_s=1.0)


def video(scores, labels=None, name="a", step_s=0.5):
    return FrameScores(name, scores, labels, np.arange(len(scores)) * step_s)


def test_true_and_false_alarms_spans_and_seconds():
    scores = [2, 2, 2, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 0]
    labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1]
    report = report_alarms([video(scores, labels)], 1.0, RULES)
    assert [alarm.is_false for alarm in report.alarms] == [True, False]
    assert (report.false_alarms, report.detected, report.missed) == (1, 1, 1)
    assert report.normal_s == 5.0 and report.normal_in_alarm_s == 2.0  # 10 normal frames, 4 in alarm
    assert report.footage_s == 8.0 and report.footage_in_alarm_s == 3.5
    assert report.false_alarms_per_hour == pytest.approx(3600 / 5)
    (detected, missed) = report.spans
    assert (detected.start_s, detected.end_s, detected.delay_s) == (4.0, 6.0, 0.5)  # opened at 4.5 s
    assert (missed.start_s, missed.delay_s) == (7.0, None)
    assert report.median_delay_s == 0.5


def test_an_alarm_that_goes_beyond_its_span_covers_normal_footage():
    scores, labels = [0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    report = report_alarms([video(scores, labels)], 1.0, RULES)
    assert report.false_alarms == 0 and report.normal_time_in_alarm == pytest.approx(4 / 9)
    assert report.covers_normal_footage
    exact = report_alarms([video(scores, [0, 0, *[1] * 6, 0, 0, 0])], 1.0, RULES)
    assert not exact.covers_normal_footage
    with_false = report_alarms([video([*scores, *scores], [*labels, *[0] * 11])], 1.0, RULES)
    assert with_false.false_alarms == 1 and not with_false.covers_normal_footage


def test_an_open_alarm_has_no_delay():
    report = report_alarms([video([2, 2, 2, 2, 2, 2], [0, 0, 0, 0, 1, 1])], 1.0, RULES)
    assert [span.delay_s for span in report.spans] == [0.0]


def test_an_alarm_beside_a_span_does_not_detect_it():
    scores, before, after = [0, 0, 2, 2, 2, 0, 0], [1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]
    reports = [report_alarms([video(scores, labels)], 1.0, RULES) for labels in (before, after)]
    assert [(report.false_alarms, report.detected, report.missed) for report in reports] == [(1, 0, 1)] * 2


def test_spans_without_a_score_are_neither_detected_nor_missed():
    report = report_alarms([video([0, 0, math.nan, math.nan, 0, 0], [0, 0, 1, 1, 0, 0])], 1.0, RULES)
    assert (report.detected, report.missed) == (0, 0)
    assert report.spans[0].is_scored is False


def test_frames_without_a_score_are_no_footage():
    report = report_alarms([video([0, math.nan, math.nan, 0], [0, 0, 0, 0])], 1.0, RULES)
    assert report.footage_s == report.normal_s == 1.0


def test_a_video_without_labels_has_alarms_only():
    report = report_alarms([video([2, 2, 2, 2], None), video([0, 0], [0, 1], name="b")], 1.0, RULES)
    assert report.alarms[0].is_false is None
    assert report.false_alarms == 0
    assert (report.footage_s, report.normal_s) == (3.0, 0.5)
    assert report.alarms_per_hour == pytest.approx(1200.0)


def test_json_has_the_rules_and_the_rates():
    values = report_alarms([video([2, 2, 2, 2, 0, 0], [0] * 6)], 1.0, RULES, 0.5).to_json()
    assert values["rules"]["merge_gap_s"] == 1.0
    assert (values["alarms"], values["false_alarms"], values["low_threshold"]) == (1, 1, 0.5)
