from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.report import video_headline
from offnormal.types import Rate
from tests.report.conftest import calibrated, frame_series, video_evaluation

RNG = np.random.default_rng(5)


def series(name, scores, spans=(), *, labelled=True, fps=1.0):
    """Frames of one second with scores as given."""
    one = frame_series(RNG, name, len(scores), spans, fps=fps, labelled=labelled)
    return replace(one, scores=np.array(scores, float))


def at(limit, rate=None):
    """A calibration with this threshold that promises 2 % of the frames, or `rate`."""
    return replace(calibrated(), threshold=limit, rate=Rate(0.02, "frame") if rate is None else rate)


# 100 s: one span caught 2 s late, one missed, one not scored, two false alarms.
SCORES = [1.0] * 100
SCORES[10] = SCORES[12] = 9.0  # one alarm: 1 s apart
SCORES[22:25] = [9.0] * 3
SCORES[90] = 9.0
SCORES[70:75] = [np.nan] * 5
SPANS = ((20, 30), (40, 50), (70, 75))


@pytest.fixture(scope="module")
def street():
    return video_evaluation([series("01", SCORES, SPANS)], calibration=at(5.0))


def test_the_lead_counts_spans_delay_false_alarms_and_time_in_alarm(street):
    said = video_headline.lead(street)
    assert said.startswith("At the threshold 5.000: 1 of 2 labelled spans caught, half of them within 2 s; ")
    assert "2 false alarms in 75 s of normal footage (96 per hour)" in said
    assert said.endswith("in alarm for 7.4 % of the time, 5.3 % of the normal footage.")  # 7 of 95 s, 4 of 75 s


def test_the_figures_say_the_same(street):
    shown = {figure.title: (figure.value, figure.unit, figure.note) for figure in video_headline.figures(street)}
    assert shown["False alarms"] == ("96", "per hour", "2 false alarms in 75 s of normal footage")
    assert shown["Spans caught"] == ("1", "of 2", "1 missed; 1 more without a score")
    assert shown["Median delay"][0] == "2 s"
    assert shown["Time in alarm"] == ("7.4 %", "of the footage", "5.3 % of the normal footage")


def test_without_labels_alarms_are_counted_per_hour():
    found = video_evaluation([series("01", SCORES, labelled=False)], calibration=at(5.0))
    shown = {figure.title: (figure.value, figure.note) for figure in video_headline.figures(found)}
    assert shown["Alarms"] == (f"{3 * 3600 / 95:.0f}", "3 alarms in 1.6 min")
    assert shown["Longest alarm"][0] == "3 s"
    assert "3 alarms in 1.6 min without labels, 114 per hour" in video_headline.lead(found)
    assert video_headline.tiles(found) == [] and video_headline.variants(found) is None


def test_without_a_threshold_nothing_is_called_anything():
    found = video_evaluation([series("01", SCORES, SPANS)], calibration=None)
    assert video_headline.lead(found).startswith("95 frames of 1 video scored, without verdicts")
    assert video_headline.figures(found) == [] and video_headline.promise(found) is None
    assert [tile.name for tile in video_headline.tiles(found)][:2] == ["frame_AUC_micro", "frame_AUC_macro"]


def test_an_alarm_that_never_ends_is_said():
    always = video_evaluation([series("01", [9.0] * 100, SPANS)], calibration=at(5.0))
    assert "0 false alarms" in video_headline.lead(always)
    assert "hardly ever ends: it is on during 100 % of the normal footage" in video_headline.warnings(always)[0]
    unlabelled = video_evaluation([series("01", [9.0] * 60 + [1.0] * 40, labelled=False)], calibration=at(5.0))
    assert "60.0 % of the footage" in video_headline.warnings(unlabelled)[0]
    assert not video_headline.warnings(video_evaluation([series("01", SCORES, SPANS)], calibration=at(5.0)))


def test_without_a_clock_there_are_no_alarms_and_the_reason_is_given():
    found = video_evaluation([series("01", SCORES, SPANS, fps=None)], calibration=at(5.0))
    assert "No alarms: 01 has no clock: give its frames per second with --fps" in video_headline.lead(found)
    assert video_headline.figures(found) == []


@pytest.mark.parametrize(("loud", "kept"), [(1, True), (10, True), (60, False)])
def test_a_promised_share_of_frames_is_checked_on_the_normal_frames(loud, kept):
    calibration = at(5.0)
    assert calibration.rate.value < calibration.interval[1] < 0.06
    scores = [9.0] * loud + [1.0] * (500 - loud) + [9.0] * 100
    promise = video_headline.promise(video_evaluation([series("01", scores, ((500, 600),))], calibration=calibration))
    assert promise.kept is kept
    assert f"{loud} of 500 normal test frames were called anomalous" in promise.judgement
    assert ("more than promised, beyond" in promise.judgement) is not kept
    assert [track.rate for track in promise.tracks] == [pytest.approx(2.0), pytest.approx(loud / 5)]


def test_a_rate_per_hour_is_checked_by_the_false_alarms():
    scores = [1.0] * 7200
    scores[100:7000:300] = [9.0] * 23
    for rate, kept in ((Rate(10, "hour"), True), (Rate(5, "hour"), False), (Rate(10, "day"), False)):
        found = video_evaluation([series("01", scores)], calibration=at(5.0, rate))
        promise = video_headline.promise(found)
        assert promise.kept is kept, rate
        assert "23 false alarms in 2 h of normal footage: 12 per hour" in promise.judgement
        low, high = promise.tracks[1].low, promise.tracks[1].high
        assert (low, high) == (pytest.approx(14.58 / 2, abs=0.01), pytest.approx(34.51 / 2, abs=0.01))  # exact Poisson


def test_a_threshold_by_hand_and_footage_without_normals_promise_nothing():
    by_hand = video_evaluation([series("01", SCORES, SPANS)], calibration=calibrated().with_threshold(5.0))
    assert video_headline.promise(by_hand).kept is None
    bad = video_evaluation([series("01", [9.0] * 20, ((0, 20),))], calibration=at(5.0))
    assert "no footage labelled normal" in video_headline.promise(bad).judgement
    assert {figure.title: figure.note for figure in video_headline.figures(bad)}["False alarms"] == "no normal footage"


def test_variants_keep_what_is_for_papers_apart(street):
    plain = video_headline.variants(street)
    assert plain.suffixes == ["", "_per_video_norm"] and plain.papers == 1 and plain.smoothing is None
    smooth = video_headline.variants(video_evaluation([series("01", SCORES, SPANS)], calibration=at(5.0), smooth_s=2.0))
    assert smooth.suffixes == ["", "_smoothed", "_per_video_norm", "_smoothed_per_video_norm"] and smooth.papers == 2
    name, values = smooth.rows[0]
    assert name == "frame_AUC_micro" and values[0] == street.metrics["frame_AUC_micro"] != values[1]
    assert "sigma 2 seconds" in smooth.smoothing


def test_macro_says_over_how_many_videos():
    found = video_evaluation([series("01", SCORES, SPANS), series("02", [1.0, 2.0] * 20)], calibration=None)
    notes = {tile.name: tile.note for tile in video_headline.tiles(found)}
    assert notes["frame_AUC_macro"].endswith("over 1 of 2 videos")
    assert notes["pixel_AUROC"] == "there are no masks"
