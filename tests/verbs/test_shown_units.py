import dataclasses

import numpy as np
import pytest

from offnormal import api
from offnormal.bundle import Bundle
from offnormal.config.score import EvaluateConfig
from offnormal.scoring import ItemScores
from offnormal.types import Mask, Unit
from offnormal.verbs.shown_units import ExtremeImages, _frames, shown_units
from tests.evaluations import Scored, calibrated, evaluation_of
from tests.items import image, video
from tests.verbs.test_predict import bundle

CALIBRATION = bundle().calibration  # threshold 100


def scores(name, value, label, class_name=None):
    item = image(name, label=label, class_name=class_name)
    return ItemScores(item=item, score=np.array([value]), terms={}, map=np.full((2, 2), value))


def roles_and_names(extremes):
    return [(role, of_image.item.name) for role, of_image in extremes]


def test_misses_false_alarms_and_a_detection_of_each_class_are_kept():
    extremes = ExtremeImages(CALIBRATION)
    offered = [
        scores("calm", 10, 0),
        scores("alarm", 120, 0),
        scores("worse", 150, 0),
        scores("miss", 50, 1, "hole"),
        scores("worse miss", 20, 1, "hole"),
        scores("crack", 200, 1, "crack"),
        scores("clearer crack", 300, 1, "crack"),
        scores("hole", 110, 1, "hole"),
    ]
    for of_image in offered:
        extremes.offer(of_image)
    assert roles_and_names(extremes) == [
        ("miss", "worse miss"),
        ("miss", "miss"),
        ("false_alarm", "worse"),
        ("false_alarm", "alarm"),
        ("detected", "clearer crack"),
        ("detected", "hole"),
    ]


def test_only_the_most_extreme_are_kept_whatever_their_order():
    values = np.random.default_rng(0).permutation(np.arange(101, 121))
    extremes = ExtremeImages(CALIBRATION)
    for value in values:
        extremes.offer(scores(str(value), float(value), 0))
    assert roles_and_names(extremes) == [("false_alarm", str(value)) for value in range(120, 112, -1)]


def test_without_labels_the_highest_are_peaks_and_videos_are_ignored():
    extremes = ExtremeImages(None)
    extremes.offer(scores("a", 1, None))
    extremes.offer(scores("b", 2, None))
    extremes.offer(ItemScores(item=video("v.mp4"), score=np.array([9.0]), terms={}))
    assert roles_and_names(extremes) == [("peak", "b"), ("peak", "a")]


def test_a_map_that_is_kept_is_a_copy():
    extremes, shared = ExtremeImages(None), scores("a", 1, None)
    extremes.offer(shared)
    shared.map[:] = 7
    ((_, of_image),) = extremes
    assert of_image.map.max() == 1


def test_what_is_masked_is_in_no_thumbnail(fit_clips, evaluate_clips):
    run = fit_clips()
    evaluation, _ = evaluate_clips(run.path)
    left_half = Mask((((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),), None)
    for mask, dark in ((None, False), (left_half, True)):
        calibration = dataclasses.replace(run.bundle.calibration, mask=mask)
        masked = Bundle(run.bundle.detector, calibration, hash="b")
        units = shown_units(masked, evaluation, EvaluateConfig(device="cpu"), ExtremeImages(calibration))
        assert {unit.role for unit in units} == {"miss", "false_alarm"}
        halves = [frame[:, : frame.shape[1] // 2 - 1] for unit in units for frame in unit.frames]
        assert {not half.any() for half in halves} == {dark}


def test_frames_are_shown_at_false_alarms_misses_and_peaks(fitted_on_footage, footage, tmp_path):
    evaluation = api.evaluate(fitted_on_footage.bundle, footage, out=tmp_path, rules={"min_duration": 0})
    units = shown_units(fitted_on_footage.bundle, evaluation, EvaluateConfig(), ExtremeImages(None))
    items = [item for item in evaluation.table.items for unit in units if item.rows.start <= unit.row < item.rows.stop]
    assert {item.name for item in items} == {"calm", "odd"}
    for unit in units:
        (frame,) = unit.frames
        assert frame.shape == (64, 64, 3) and unit.map.shape == (64, 64)
        assert unit.map.max() == pytest.approx(evaluation.table.score[unit.row], rel=1e-3), "the map of that frame"
    peak = max(units, key=lambda unit: evaluation.table.score[unit.row])
    assert evaluation.table.score[peak.row] == np.nanmax(evaluation.table.score)
    square = peak.map[6:22, 8:24]
    assert square.mean() > 2 * peak.map.mean()


def test_the_highest_false_alarms_and_the_longest_misses_come_first():
    scores, labels = np.ones(200), np.zeros(200)
    for start, stop, score in ((10, 20, 20.0), (60, 70, 30.0)):  # false alarms
        scores[start:stop] = score
        scores[start + 3] += 1
    for start, stop in ((100, 105), (140, 170)):  # missed
        labels[start:stop] = 1
        scores[start + 2] = 2
    item = Scored(name="yard", scores=scores, labels=labels, fps=10.0)
    evaluation = evaluation_of(Unit.FRAME, [item], calibration=calibrated("frame"))
    assert list(_frames(evaluation)) == [
        ("false_alarm", "yard", 63),
        ("false_alarm", "yard", 13),
        ("miss", "yard", 142),
        ("miss", "yard", 102),
    ]  # and its peak, 63, only once
