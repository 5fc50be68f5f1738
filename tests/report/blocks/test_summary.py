from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from offnormal.report.blocks import summary as module
from offnormal.report.blocks.summary import key_figures, lead, warnings
from tests.evaluations import RULES, Scored, calibrated, clip_evaluation, image_evaluation, images, video_evaluation

# 100 s: one span detected 2 s late, one missed, one not scored, two false alarms.
SCORES = np.ones(100)
SCORES[[10, 12, 90]] = 9.0  # 10 and 12 are one alarm: gaps up to 1 s are merged
SCORES[22:25] = 9.0
SCORES[70:75] = np.nan
SPANS = ((20, 30), (40, 50), (70, 75))
AT_ONCE = RULES.model_copy(update={"min_duration_s": 0.0})


def footage(scores=SCORES, spans=SPANS, *, labeled=True, fps=1.0, threshold=5.0, **options):
    labels = np.zeros(len(scores))
    for start, stop in spans:
        labels[start:stop] = 1
    item = Scored(name="01", scores=np.array(scores, float), labels=labels if labeled else None, fps=fps)
    calibration = None if threshold is None else replace(calibrated("frame"), threshold=threshold)
    return video_evaluation([item], calibration=calibration, rules=AT_ONCE, **options)


def figures(evaluation):
    return {figure.title: figure for figure in key_figures(evaluation).elements[0].rows}


def test_doctests():
    assert doctest.testmod(module).failed == 0


def test_the_lead_of_images_counts_detections_and_false_alarms():
    evaluation = image_evaluation()
    confusion = evaluation.confusion
    assert lead(evaluation) == (
        f"At the threshold 7.365: {confusion.detected} of 21 anomalous images detected, "
        f"{confusion.false_alarm} false alarms on 40 normal images."
    )
    single = image_evaluation(items=images(normal=1, anomalies={"cut": 1}, power=20.0))
    assert lead(single) == "At the threshold 7.365: 1 of 1 anomalous image detected, 0 false alarms on 1 normal image."
    only = image_evaluation(items=images(anomalies={}))
    assert "detected" not in lead(only) and lead(only).endswith("on 40 normal images.")


def test_the_lead_of_clips_counts_those_tested_on():
    assert lead(clip_evaluation()) == (
        "At the threshold 1.400: 2 of 3 anomalous clips detected, 1 false alarm on 2 normal clips."
    )


def test_the_lead_of_videos_counts_spans_delay_false_alarms_and_time_in_alarm():
    text = lead(footage())
    assert text.startswith("At the threshold 5.000: 1 of 2 labeled spans detected, median delay 2 s; ")
    assert "2 false alarms in 75 s of normal footage (96 per hour)" in text


def test_without_labels_or_threshold_nothing_is_judged():
    evaluation = image_evaluation(items=images(normal=0, anomalies={}, unlabeled=30), pixel=None)
    above = int((evaluation.table.score > evaluation.threshold).sum())
    assert lead(evaluation) == f"At the threshold 7.365: {above} of 30 images are above it; they have no labels."
    assert lead(footage(threshold=None)).startswith("95 frames of 1 video scored. No verdicts")
    assert "3 alarms in 1.6 min without labels, 114 per hour" in lead(footage(labeled=False))


def test_the_figures_of_images_have_intervals():
    evaluation = image_evaluation()
    missed = figures(evaluation)["Missed"]
    assert (missed.value, missed.unit) == (str(evaluation.confusion.missed), "of 21 anomalous images")
    assert missed.note == "57.1 per 100, 95 % interval 34.0 to 78.2"
    assert missed.interval == pytest.approx((34.0, 57.1, 78.2), abs=0.05)
    normal_only = figures(image_evaluation(items=images(anomalies={})))
    assert normal_only["Missed"].note == "no anomalous images in the test"


def test_the_figures_of_divided_clips_are_accuracies_by_split():
    rows = figures(clip_evaluation())
    assert list(rows) == [
        "Anomalous detected",
        "Normal passed, test",
        "Normal passed, calibration",
        "Normal passed, training",
    ]
    assert rows["Normal passed, calibration"].note == "1 of 1 clip; 95 % interval 2.5 to 100"
    assert list(figures(clip_evaluation(split=False, classes=False))) == ["Missed", "False alarms"]


def test_the_figures_of_videos():
    rows = figures(footage())
    alarm_s, normal_alarm_s = footage().alarms.time_in_alarm, footage().alarms.normal_time_in_alarm
    assert (rows["False alarms"].value, rows["False alarms"].unit) == ("96", "per hour")
    assert (rows["Spans detected"].value, rows["Spans detected"].note) == ("1", "1 missed; 1 more without a score")
    assert rows["Median delay"].value == "2 s"
    assert rows["Time in alarm"].value == f"{100 * alarm_s:.1f} %"
    assert rows["Time in alarm"].note == f"{100 * normal_alarm_s:.1f} % of the normal footage"
    unlabeled = figures(footage(labeled=False))
    assert (unlabeled["Alarms"].value, unlabeled["Alarms"].note) == ("114", "3 alarms in 1.6 min")
    assert unlabeled["Longest alarm"].note == "at least 0 s long, gaps up to 1 s are merged"
    assert figures(footage([9.0] * 20, ((0, 20),)))["False alarms"].note == "no normal footage"


def test_an_alarm_that_is_always_on_is_a_warning():
    (text,) = warnings(footage([9.0] * 100, SPANS))
    assert "The alarm is on for 100 % of the normal footage" in text
    (text,) = warnings(footage([9.0] * 60 + [1.0] * 40, labeled=False))
    assert "60.0 % of the footage" in text
    assert warnings(footage()) == []


def test_an_assumed_clock_is_a_warning():
    assert "assume 25 frames per second" in warnings(footage(fps=None, assumed_fps=25.0))[0]


def test_few_normals_are_a_warning():
    (text,) = warnings(clip_evaluation())
    assert text == (
        "The calibration set has 9 normal clips: too few to guarantee less than 10 % false alarms. 5 % needs 19, "
        "1 % needs 99."
    )
    assert not any("calibration set has" in text for text in warnings(clip_evaluation(normals=99)))
    assert warnings(image_evaluation()) == [], "its rate was asked for"


def test_normals_that_mostly_fail_are_a_warning():
    (text,) = warnings(image_evaluation(items=images(shift=4.0)))
    assert text.startswith("Only 42.5 % of the normal images of the test are below the threshold")
