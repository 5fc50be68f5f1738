from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.calibration.check import Answer, GuaranteeCheck
from offnormal.report.blocks.guarantee import answer_text, guarantee, observed_rate
from offnormal.types import Rate
from tests.evaluations import (
    Scored,
    calibrated,
    clip_evaluation,
    image_evaluation,
    images,
    street,
    video,
    video_evaluation,
)
from tests.report.blocks.test_summary import AT_ONCE


def texts(evaluation):
    side = guarantee(evaluation).elements[0]
    return [(text.label, text.text, text.tone) for text in side.left], side.right


def test_it_is_held_where_few_normals_are_above():
    (stated, test, answer), (tracks,) = texts(image_evaluation())
    assert stated[0] == "Guarantee." and stated[1].startswith("Expected false-alarm rate: at most 2 %")
    assert test[1] == "0 false alarms on 40 normal images: 0 per 100 (95 % interval 0 to 8.8)."
    assert answer[0] == "Held." and answer[2] == "held" and "(p-value 1)" in answer[1]
    assert [track.rate for track in tracks.rows] == [2.0, 0.0]
    assert tracks.unit == "false alarms per 100 normal images"


def test_it_is_broken_beyond_chance():
    (_, test, answer), _ = texts(image_evaluation(items=images(shift=4.0)))
    assert test[1].startswith("23 false alarms on 40 normal images")
    assert answer[0] == "Broken." and answer[2] == "broken"
    assert "Calibrate again on normal images of the same days and setup" in answer[1]


def test_few_normals_are_not_enough():
    (_, _, answer), _ = texts(image_evaluation(items=images(normal=2)))
    assert answer[0] == "Not enough data." and answer[2] == "plain"
    assert "could go unnoticed on the normal images of this test set" in answer[1]


@pytest.mark.parametrize("answer", list(Answer))
def test_the_answer_is_the_evaluation_s(answer):
    evaluation = replace(image_evaluation(), guarantee=GuaranteeCheck(answer, 0.0123))
    assert "(p-value 0.012)" in answer_text(evaluation)
    assert texts(evaluation)[0][2][0] == f"{answer.value.capitalize()}."


def test_a_threshold_by_hand_guarantees_nothing():
    rows, tracks = texts(image_evaluation(calibration=calibrated().with_threshold(6.5)))
    assert len(rows) == 2 and "set by hand" in rows[0][1] and tracks == []
    assert guarantee(image_evaluation(calibration=None)) is None


def test_without_normals_there_is_nothing_to_check():
    rows, tracks = texts(image_evaluation(items=images(normal=0)))
    assert rows[1][1] == "No images labeled normal, so the guarantee cannot be checked." and tracks == []
    rows, _ = texts(video_evaluation(street(labeled=False)))
    assert rows[1][1] == "No footage labeled normal, so the guarantee cannot be checked."


def test_clips_tested_on_are_counted():
    text, observed, _ = observed_rate(clip_evaluation())
    assert text.startswith("1 false alarm on 2 normal clips: 50.0 per 100")
    assert observed.low == pytest.approx(1.26, abs=0.01) and observed.high == pytest.approx(98.74, abs=0.01)


def test_a_share_of_frames_has_no_interval():
    scores = np.array([9.0] * 10 + [1.0] * 490 + [9.0] * 100)
    labels = np.repeat([0, 1], (500, 100))
    item = Scored(name="01", scores=scores, labels=labels, fps=5.0)
    evaluation = video_evaluation([item], calibration=replace(calibrated("frame"), threshold=5.0))
    text, observed, _ = observed_rate(evaluation)
    assert text == "10 of 500 normal frames above the threshold: 2.0 per 100."
    assert observed.low == observed.rate == observed.high == 2.0
    assert texts(evaluation)[0][2][1].startswith("Not checked: the calibration has no frame times")


def test_a_rate_per_hour_is_seen_in_incidents():
    series = video(np.random.default_rng(0), "01", 7200, fps=1.0)
    scores = np.ones(7200)
    scores[100:7000:300] = 9.0  # closer than ten minutes, so that an incident counts again each half hour
    calibration = replace(calibrated("frame"), threshold=5.0, rate=Rate(10, "hour"))
    evaluation = video_evaluation([replace(series, scores=scores)], calibration=calibration, rules=AT_ONCE)
    text, observed, _ = observed_rate(evaluation)
    assert text.startswith("4 incidents of false alarms in 2 h of normal footage: 2.0 per hour")
    assert (observed.low, observed.high) == (pytest.approx(1.09 / 2, abs=0.01), pytest.approx(10.24 / 2, abs=0.01))
    assert texts(evaluation)[1][0].unit == "incidents per hour"


def test_the_axis_of_shares_ends_at_100():
    _, (tracks,) = texts(clip_evaluation())
    assert max(track.high for track in tracks.rows) > 93 and tracks.end == 100
