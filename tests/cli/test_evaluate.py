"""What evaluate prints."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from offnormal.cli.evaluate import as_text
from tests.evaluations import calibrated, image_evaluation, video, video_evaluation


def figure(name, evaluation):
    """The text beside a name; None where it is not printed."""
    texts = [line.removeprefix(name).strip() for line in as_text(evaluation, Path("report.html"))[1:] if name in line]
    return texts[0] if texts else None


def test_the_answer_of_the_check_is_printed():
    assert figure("guarantee check", image_evaluation()) == "held on the test set (p-value 1)"


def test_what_could_not_be_checked_says_why():
    text = figure("guarantee check", video_evaluation(calibration=calibrated("frame")))
    assert text.startswith("not possible: the calibration has no frame times")


def test_a_threshold_by_hand_has_no_guarantee_to_check():
    by_hand = calibrated("frame").with_threshold(6.5)
    assert figure("guarantee check", video_evaluation(calibration=by_hand)) is None


def test_no_false_alarm_but_much_normal_time_in_alarm_is_explained():
    scores = np.r_[np.ones(40), np.full(60, 20.0), np.ones(300)]
    evaluation = video_evaluation(
        [replace(video(np.random.default_rng(3), "01", 400, ((50, 60),), fps=5.0), scores=scores)]
    )
    assert figure("false alarms", evaluation).startswith("0 per hour")
    assert figure("time in alarm", evaluation) == "15.0 %, 12.8 % of the normal footage"
    assert figure("note", evaluation).startswith("No alarm is false, because each one touches")


def test_short_footage_is_given_in_seconds():
    short = video(np.random.default_rng(3), "01", 100, ((20, 50),), fps=5.0)
    assert figure("false alarms", video_evaluation([short])) == "0 per hour (0 in 14 s, 0 incidents)"
